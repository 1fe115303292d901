"""Fields of requests and responses that nginx treats in its own way: the same configuration and upstream in nginx and here."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Running, Wire, free_port, reply, run_nginx, run_proxy, send_raw

EARLIER, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"
CONFIGURATION = """
events {{}}
http {{
    access_log off;
    proxy_cache_path {root}/cache keys_zone=z:1m;
    server {{ listen 127.0.0.1:{port}; server_name x; return 200 "x[$server_name][$host]"; }}
    server {{ listen 127.0.0.1:{port}; server_name "" nameless; return 200 "nameless[$server_name][$host]"; }}
    server {{
        listen 127.0.0.1:{port};
        server_name any;
        ignore_invalid_headers off;
        location / {{ proxy_pass http://{upstream}; }}
        location /shown {{ return 200 "[$http_x_foo][$http_cookie]"; }}
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name underscores;
        underscores_in_headers on;
        location / {{ proxy_pass http://{upstream}; }}
        location /shown {{ return 200 "[$http_x_foo]"; }}
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name a;
        root {root};
        location / {{ proxy_pass http://{upstream}; }}
        location /shown {{ return 200 "[$http_x_foo]"; }}
        location = /file.txt {{ add_header Last-Modified "{earlier}"; add_header ETag '"mine"'; }}
        location /removed/ {{ alias {root}/; add_header Last-Modified ""; add_header ETag $arg_none; }}
        location /dated {{
            proxy_pass http://{upstream};
            add_header last-modified "{earlier}"; add_header ETag '"x"'; add_header etag '"y"'; }}
        location /undated {{ proxy_pass http://{upstream}/dated; add_header Last-Modified ""; add_header ETag ""; }}
        location /always {{ return 404; add_header ETag '"x"' always; add_header Last-Modified "{earlier}"; }}
        location /cookies {{ proxy_pass http://{upstream}; add_header X-Cookies "[$upstream_cookie_a][$upstream_cookie_b]"; }}
        location /limited {{ proxy_pass http://{upstream}; limit_except GET {{ proxy_pass http://{other}; }} }}
        location /written {{ limit_except GET {{ proxy_pass http://{other}; }} return 200 read; }}
        location /denied {{ proxy_pass http://{upstream}; limit_except GET {{ deny all; proxy_pass http://{other}; }} }}
        location /past {{ proxy_pass http://{upstream}; proxy_cache z; add_header X-Cache $upstream_cache_status; }}
    }}
}}
"""
SINGLE = "Content-Type Date Last-Modified ETag Server Location Refresh Expires Status".split()
REPEATED = "Cache-Control Vary Link WWW-Authenticate Accept-Ranges Content-Encoding X-Other Age".split()
UPSTREAM = {
    "/dated": reply(b"body", headers=[("Last-Modified", LATER), ("ETag", '"up"')]),
    "/cookies": reply(
        headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "A=2"), ("Set-Cookie", "b=; x=1"), ("Set-Cookie", "b=4")]
    ),
    "/past": reply(headers=[("X-Accel-Expires", "@1000"), ("Cache-Control", "max-age=100")]),
    **{f"/twice/{name}": reply(headers=[(name, "first"), (name.lower(), "second")]) for name in SINGLE + REPEATED},
}


def script(request: Recorded, wire: Wire) -> bytes:
    lines = "".join(f"{name}: {value}\n" for name, value in request.headers if name.lower() not in ("host", "connection"))
    return UPSTREAM.get(request.target) or reply(lines.encode())


def other(request: Recorded, wire: Wire) -> bytes:
    return reply(f"other {request.method} {request.target}".encode())


def request(target: str, *fields: str, host: str = "a", method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode()


REQUESTS = [
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    request("/", host="nameless"),
    request("/", host="unknown"),
    request("/", "x_foo: 1", "a.b: 2", "X-Foo: 3", host="any"),
    request("/shown", "x_foo: 1", "X-Foo: 2", "Cookie: a=b", host="any"),
    request("/", "x_foo: 1", "a.b: 2", host="underscores"),
    request("/shown", "x_foo: 1", host="underscores"),
    request("/", "x_foo: 1", "a.b: 2"),
    request("/shown", "x_foo: 1"),
    request("/file.txt"),
    request("/file.txt", "Range: bytes=0-1"),
    request("/removed/file.txt"),
    request("/removed/file.txt", "Range: bytes=0-1"),
    request("/dated"),
    request("/undated"),
    request("/always"),
    request("/cookies"),
    *(request(path, method=method) for path in ("/limited", "/written", "/denied") for method in ("GET", "HEAD", "PUT")),
    request("/past"),
    request("/past"),
    *(request(f"/twice/{name}") for name in SINGLE + REPEATED),
]


def answers(run: AbstractContextManager[Running]) -> list[tuple[str, list[str], str]]:
    found = []
    with run as server:
        for sent in REQUESTS:
            head, _, body = send_raw(server.port, sent).decode("latin-1").partition("\r\n\r\n")
            status, *fields = head.split("\r\n")
            left_out = ("Server:", "Date:", "Content-Length: 1", "Cache-Status:", "Age: 0")
            kept = sorted(field for field in fields if not field.startswith(left_out))
            found.append((status, kept, re.sub(r"<hr>.*", "", body, flags=re.DOTALL)))
    return found


@pytest.mark.ours_alone("the fields with underscores, and Date and Server, are the server's")
def test_fields_as_in_nginx(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("hello\n")
    with Recorder(script) as upstream, Recorder(other) as second:
        text = (
            CONFIGURATION.replace("{earlier}", EARLIER).replace("{upstream}", upstream.address).replace("{other}", second.address)
        )
        sides = []
        for run in (run_nginx, run_proxy):
            made = text.format(port=free_port(), root=tmp_path)
            sides.append(answers(run(made.replace(f"{tmp_path}/cache", f"{tmp_path}/cache-{run.__name__}"), tmp_path)))
        theirs, ours = sides
    for sent, wanted, found in zip(REQUESTS, theirs, ours, strict=True):
        assert found == wanted, sent


@pytest.mark.ours_alone("gunicorn's own workers drop the field")
def test_a_426_says_which_protocol_is_required(tmp_path: Path) -> None:
    with Recorder(
        lambda request, wire: reply(status="426 Upgrade Required", headers=[("Upgrade", "x"), ("Connection", "upgrade")])
    ) as up:
        port = free_port()
        text = f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{up.address}; }} }} }}"
        with run_proxy(text, tmp_path) as server:
            found = send_raw(server.port, request("/")).decode()
    assert "\r\nUpgrade: x\r\n" in found and "\r\nConnection: upgrade\r\n" in found
