"""Error pages, added headers, expiry, and the effects of `if` and `limit_except`: the whole proxy beside nginx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import free_port, run_nginx
from tests.support.routing import Pairs, Theirs, environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.proxy import Proxy

SERVERS = [
    "error_page 404 /404.html;",
    "error_page 404 =200 /404.html;",
    "error_page 404 = /404.html;",
    "error_page 404 =302 /404.html;",
    "error_page 404 http://e.org/x;",
    "error_page 404 =301 http://e.org/x;",
    'error_page 404 @n; location @n { return 200 "named $uri $args $status"; }',
    "error_page 404 = @n; location @n { return 503; }",
    "error_page 404 = @n; error_page 503 /a.html; location @n { return 503; }",
    "recursive_error_pages on; error_page 404 = @n; error_page 503 /a.html; location @n { return 503; }",
    "error_page 404 /none.html;",
    "recursive_error_pages on; error_page 404 /none.html;",
    "error_page 403 404 405 /a.html; location /no { deny all; }",
    'error_page 404 /x?k=v; location /x { return 200 "$uri $args $request_uri $request_method"; }',
    'location / { error_page 404 /y; } location /y { internal; return 200 "internal $uri"; }',
    "location = /404.html { internal; } error_page 404 /404.html;",
    "location /r { return 301 /z; } error_page 404 $arg_p/404.html;",
    "error_page 404 =410 /404.html;",
    "error_page 404 =499 @n; location @n { return 200 x; }",
    "add_header X-A $uri; add_header X-B b always; location /in { add_header X-C c; }",
    "add_header X-A a; location /r { return 302 /z; } location /e { return 500; } location /c { return 201 x; }"
    " location /nc { return 204; }",
    "expires 1h; location /off { expires off; return 200 o; } location /ep { expires epoch; return 200 e; }"
    " location /max { expires max; return 200 m; } location /neg { expires -1; return 200 n; } location /r { return 302 /x; }",
    "location / { limit_except GET { deny all; } } location /p { limit_except POST { deny all; } return 200 p; }",
    'if ($request_method = POST) { return 405; } if ($arg_x) { return 200 "x=$arg_x"; }',
    "location / { if ($arg_h) { add_header X-If $arg_h; } add_header X-Out o; }",
    'location / { set $a 1; if ($arg_h) { set $a 2; } if ($arg_h = 2) { return 200 "two $a"; } return 200 "one $a"; }',
    "location /i { internal; } error_page 404 /i/a.html; location /i/a.html { return 200 nested; }",
    'satisfy any; deny all; allow 127.0.0.1; location /x { deny all; return 200 "ret"; }',
    "location / { deny all; try_files $uri =404; } location /q { deny all; error_page 403 =200 /a.html; }"
    " location /a.html { allow all; }",
    'location / { return 400 "bad"; }',
    "error_page 405 =200 $uri;",
    "error_page 404 /empty/; location /empty/ { index a.html; alias W/; }",
    "error_page 500 502 503 504 /a.html; location /s { return 502; }",
    "server_tokens off; location /s { return 502; }",
    'default_type ""; location /s { return 200 x; }',
    "location /s { types { } default_type text/x; return 200 x; } location /s.html { return 200 y; }",
    'location / { try_files $uri /fallback; } location /fallback { return 200 "$uri $request_uri $args"; }',
    'location / { error_page 404 = /fb$uri; } location /fb { return 202 "$uri"; }',
    "rewrite ^/old /404.html; rewrite ^/perm /x permanent; location /x { return 200 x; }",
]
TARGETS = """
/ /a.html /nope /nope?p=&k=1 /d /d/ /r /e /c /nc /in/x /no /off /ep /max /neg /p /s /s.html /i/a.html /i /x /q /y /old /perm
/404.html /a.html?x=5 /?h=2 /?h=1 /nope?h=3
""".split()
COMPARED = "location content-type x-a x-b x-c x-if x-out cache-control last-modified etag accept-ranges content-range".split()
RANGE = ("Range", "bytes=0-0")


def test_pages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, "wsgi_proxy")
    root = tmp_path / "w"
    (root / "d").mkdir(parents=True)
    (root / "404.html").write_text("custom 404")
    (root / "a.html").write_text("A")
    port = free_port()
    servers = [f"server {{ listen {port}; server_name s{n}.t; root {root}; {text} }}" for n, text in enumerate(SERVERS)]
    conf = "events {} http { access_log off; " + "\n".join(servers).replace("W/", f"{root}/") + "}"
    proxy = Proxy(nginx.loads(conf, prefix=str(tmp_path)))
    requests: list[tuple[str, str, Pairs]] = [(method, target, []) for target in TARGETS for method in ("GET", "HEAD")]
    requests += [("POST", target, [("Content-Length", "0")]) for target in ("/", "/a.html", "/nope", "/p")]
    requests += [("DELETE", target, []) for target in ("/", "/a.html", "/nope", "/p")]
    requests += [("GET", "/nope", [RANGE]), ("GET", "/a.html", [RANGE])]
    differences = []
    with run_nginx(conf, tmp_path), Theirs(port) as theirs:
        for number, text in enumerate(SERVERS):
            for method, target, more in requests:
                fields = [("Host", f"s{number}.t"), *more]
                status, _, _, body = theirs.ask(method, target, fields)
                response = proxy.respond(Exchange.from_environ(environ(method, target, fields, port)))
                mine = b"".join(response.body) if method != "HEAD" else b""
                response.close()
                wrong = [f"status {response.status} {status}"] if response.status != status else []
                for name in COMPARED:
                    values = [value for key, value in response.headers if key.lower() == name]
                    if values != theirs.last.get_all(name):
                        wrong.append(f"{name} {values} {theirs.last.get_all(name)}")
                if mine != body and not (b"<center>" in body and b"<center>" in mine):
                    wrong.append(f"body {mine!r} {body!r}")
                if wrong:
                    differences.append(f"{text} {method} {target} {more}: {wrong}")
    proxy.close()
    assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:10])
