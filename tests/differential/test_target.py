"""Request targets sent by `proxy_pass`: with and without a URI, with variables, behind rewrites, in nginx and here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import free_ports, run_nginx
from tests.support.routing import Theirs, environ
from wsgi_proxy.errors import UpstreamClosed
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.proxy import Proxy

LOCATIONS = [
    "location / { proxy_pass U; }",
    "location / { proxy_pass U/; }",
    "location /a { proxy_pass U/b; } location / { proxy_pass U; }",
    "location /a/ { proxy_pass U/b/; } location / { proxy_pass U; }",
    "location /a/ { proxy_pass U/; } location / { proxy_pass U/x; }",
    "location = /a/b { proxy_pass U/b%20c; } location / { proxy_pass U/q?z=1; }",
    "location ~ ^/a/(.*)$ { proxy_pass U; } location / { proxy_pass U/$request_uri; }",
    "location ~ ^/a/(.*)$ { proxy_pass U/x$is_args$args; } location / { proxy_pass U$request_uri; }",
    "location /a/ { rewrite ^/a/(.*)$ /n/$1 break; proxy_pass U/b/; } location / { rewrite ^/(.*)$ /m/$1 break; proxy_pass U; }",
    "location /a/ { rewrite ^/a/(.*)$ /n/$1?k=$1 break; proxy_pass U; } location / { rewrite ^/(.*)$ /a/$1 last; }",
    "location /a/ { if ($arg_x) { set $v 1; } proxy_pass U/b/; } location / { if ($arg_x) { proxy_pass U; } proxy_pass U; }",
    "location /a/ { set $args k=1; proxy_pass U; } location / { set $args z=2&$args; proxy_pass U/c; }",
    "rewrite ^/a/(.*)$ /z/$1; location / { proxy_pass U; } location /z/ { proxy_pass U/zz/; }",
    "set $up UP; location /a/ { proxy_pass http://$up; } location / { proxy_pass http://$up/fix; }",
    "location / { try_files /none @p; } location @p { proxy_pass U; }"
    " location /a/ { try_files /none /z$uri; } location /z { proxy_pass U/y; }",
    "location / { error_page 404 = @p; return 404; } location @p { proxy_pass U; }",
    "location / { error_page 404 = /z/err; return 404; } location /z/ { proxy_pass U; }",
    "location /a { if ($uri ~ b) { rewrite ^ /q$uri break; proxy_pass U; } proxy_pass U/b; }"
    " location / { location ~ c { proxy_pass U; } proxy_pass U/o/; }",
    "location ^~ /a/ { rewrite ^/a/(.*) /$1 break; proxy_pass U; } location / { proxy_pass U; }",
    "merge_slashes off; location / { proxy_pass U; } location /a/ { proxy_pass U/m/; }",
]
TARGETS = [
    "/", "/a", "/a/", "/a/b", "/a/b/c?x=1", "/ab", "/a%2Fb", "/a/%2e%2e/c", "/a/b%20c", "/a/b%3Fc", "/a/b%23c%25", "/a//b",
    "/a/./b/../c", "/%61/b", "/a/%C3%A9", "/a+b/c", "/a/b?", "/a/b??x", "/a/b?x=%20&y=a+b", "/a/b;c=d", "/c?x",
    '/a/"<>\\^`{|}', "/a/b&c", "/a/~!$*()=@:,", "/x#f", "/a/b#f?x", "/a/%7f%01", "/a/%2B",
]  # fmt: skip


def test_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, "wsgi_proxy")
    port, upstream = free_ports(2)
    servers = "".join(
        f"server {{ listen {port}; server_name s{n}.t; root /nonexistent; {text} }}\n" for n, text in enumerate(LOCATIONS)
    )
    servers = servers.replace("UP", f"127.0.0.1:{upstream}").replace("proxy_pass U", f"proxy_pass http://127.0.0.1:{upstream}")
    shown = f'server {{ listen {upstream}; merge_slashes off; return 200 "$request_uri"; }}'
    conf = f"events {{}} http {{ access_log off; {shown} {servers} }}"
    proxy = Proxy(nginx.loads(conf, prefix=str(tmp_path)))
    sent: list[bytes] = []

    def send(out: object, *rest: object) -> None:
        # Only the head matters here: record the bytes to send, then report a lost connection.
        sent.append(out.head)  # type: ignore[attr-defined]
        raise UpstreamClosed("noted")

    monkeypatch.setattr(proxy.transport, "send", send)
    differences = []
    with run_nginx(conf, tmp_path), Theirs(port) as theirs:
        for number, text in enumerate(LOCATIONS):
            for target in TARGETS:
                fields = [("Host", f"s{number}.t")]
                status, _, _, body = theirs.ask("GET", target, fields)
                sent.clear()
                response = proxy.respond(Exchange.from_environ(environ("GET", target, fields, port)))
                response.close()
                mine = sent[0].split(b" ")[1] if sent else response.status
                if mine != (body if status == 200 else status):
                    differences.append(f"{text} {target}: ours {mine!r}, nginx {status} {body!r}")
    proxy.close()
    assert not differences, "\n".join(differences)
