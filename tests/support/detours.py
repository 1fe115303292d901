"""One server with every kind of internal redirect, and an upstream that responds with the request it received."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support import Recorded, Recorder, Wire, reply

FIELDS = {
    "plain": [("Content-Type", "application/x-app")],
    "all": [
        ("Content-Type", "text/x-app; charset=utf-8"),
        ("Content-Disposition", 'attachment; filename="a.bin"'),
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2; Path=/app/"),
        ("Cache-Control", "private"),
        ("Cache-Control", "max-age=5"),
        ("Expires", "Thu, 01 Jan 2032 00:00:00 GMT"),
        ("Accept-Ranges", "none"),
    ],
    "others": [
        ("Content-Language", "de"),
        ("Content-Encoding", "x-app"),
        ("ETag", '"app"'),
        ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("Location", "/app"),
        ("Refresh", "5"),
        ("WWW-Authenticate", "Basic"),
        ("Vary", "X-App"),
        ("Link", "</app>"),
        ("X-App", "1"),
        ("Content-Range", "bytes 0-0/1"),
    ],
    "hidden": [("Cache-Control", "no-store"), ("Set-Cookie", "c=3; Domain=old; Path=/old"), ("Content-Type", "text/x-app")],
    "ranges": [("Accept-Ranges", "bytes")],
}


def conf(port: int, up: Recorder, other: Recorder, dead: int, folder: Path, more: str = "") -> str:
    """The configuration, with `more` in its server block."""
    return f"""
events {{}}
http {{
    access_log off; client_max_body_size 0; client_body_buffer_size 32k; client_body_temp_path {folder}/body;
    default_type text/x-default;
    recursive_error_pages on;
    types {{ text/plain txt; }}
    upstream pair {{ server {up.address} max_fails=0; server {other.address} max_fails=0; }}
    upstream spare {{ server {up.address} max_fails=0; server {other.address} backup; }}
    upstream half {{ server 127.0.0.1:{dead} max_fails=0; server {up.address} max_fails=0; }}
    server {{
        listen {port}; {more}
        root {folder}/root;
        add_header X-Tries $upstream_addr always;
        location @up {{ proxy_pass {up.url}; }}
        location /up {{ proxy_pass {up.url}; }}
        location @streamed {{ proxy_request_buffering off; proxy_http_version 1.1; proxy_pass {up.url}; }}
        location /dead/named {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 = @up; }}
        location /dead/uri {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 = /up/after; }}
        location /dead/status {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 /up/after; }}
        location /dead/streamed {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 = @streamed; }}
        location /dead/twice {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 = @second; }}
        location @second {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 = @third; }}
        location @third {{
            rewrite ^ /say/503 break; proxy_pass {up.url}; proxy_intercept_errors on; error_page 503 = @up;
        }}
        location /intercepted/named {{ proxy_pass {up.url}/say/503; proxy_intercept_errors on; error_page 503 = @up; }}
        location /intercepted/uri {{ proxy_pass {up.url}/say/404; proxy_intercept_errors on; error_page 404 = /up/after?x=y; }}
        location /intercepted/early {{ proxy_pass {up.url}/early; proxy_intercept_errors on; error_page 503 = @up; }}
        location /closed {{ proxy_pass {up.url}/close; error_page 502 = @up; }}
        location /accel/uri {{ proxy_pass {up.url}/do/accel?/up/moved?a=b; }}
        location /accel/named {{ proxy_pass {up.url}/do/accel?@up; }}
        location /accel/failing {{ proxy_pass {up.url}/do/accel?/dead/named; }}
        location /accel/twice {{ proxy_pass {up.url}/do/accel?/accel/uri; }}
        location /auth {{ auth_request /asked; proxy_pass {up.url}; }}
        location /asked {{ internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass {up.url}/up; }}
        location /denied {{ auth_request /asking; error_page 403 = @up; proxy_pass {up.url}; }}
        location /asking {{
            internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass {up.url}/say/403;
        }}
        location /set/first {{
            proxy_set_body "ours"; proxy_pass {up.url}/say/503; proxy_intercept_errors on; error_page 503 = @up;
        }}
        location /set/then {{ proxy_pass {up.url}/say/503; proxy_intercept_errors on; error_page 503 = @set; }}
        location @set {{ proxy_set_body "<$request_body>"; proxy_pass {up.url}; }}
        location /dropped/first {{
            proxy_pass_request_body off; proxy_set_header Content-Length "";
            proxy_pass {up.url}/say/503; proxy_intercept_errors on; error_page 503 = @up;
        }}
        location /dropped/then {{ proxy_pass {up.url}/say/503; proxy_intercept_errors on; error_page 503 = @dropped; }}
        location @dropped {{ proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass {up.url}; }}
        location /limited {{ client_max_body_size 1k; error_page 413 = @up; proxy_pass {up.url}; }}
        location /limited/uri {{ client_max_body_size 1k; error_page 413 = /up; proxy_pass {up.url}; }}
        location /streamed/named {{
            proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://127.0.0.1:{dead}; error_page 502 = @up;
        }}
        location /streamed/both {{
            proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://127.0.0.1:{dead}; error_page 502 = @streamed;
        }}
        location /streamed/intercepted {{
            proxy_request_buffering off; proxy_http_version 1.1; proxy_intercept_errors on; error_page 503 = @up;
            proxy_pass {up.url}/say/503;
        }}
        location /streamed/early {{
            proxy_request_buffering off; proxy_http_version 1.1; proxy_intercept_errors on; error_page 503 = @up;
            proxy_pass {up.url}/early;
        }}
        location /tried {{ try_files /none @up; }}

        location /pair/named {{ proxy_pass http://pair/say/503; proxy_intercept_errors on; error_page 503 = @pair; }}
        location @pair {{ proxy_pass http://pair; }}
        location /pair/next {{
            proxy_next_upstream error http_503 non_idempotent; proxy_pass http://pair/say/503; proxy_intercept_errors on;
            error_page 503 = @pair;
        }}
        location /pair/accel {{ proxy_pass http://pair/do/accel?/again; }}
        location /again {{ proxy_pass http://pair/up; }}
        location /spare/named {{ proxy_pass http://spare/say/503; proxy_intercept_errors on; error_page 503 = @spare; }}
        location /spare/next {{
            proxy_next_upstream http_503; proxy_pass http://spare/say/503; proxy_intercept_errors on; error_page 503 = @spare;
        }}
        location @spare {{ proxy_pass http://spare; }}
        location /half/named {{ proxy_pass http://half/say/503; proxy_intercept_errors on; error_page 503 = @half; }}
        location @half {{ proxy_pass http://half; }}

        location /app/ {{ proxy_pass {up.url}/; }}
        location /hide/ {{
            proxy_pass {up.url}/; proxy_hide_header Set-Cookie; proxy_hide_header Cache-Control;
        }}
        location /cookie/ {{ proxy_pass {up.url}/; proxy_cookie_path /old /new; proxy_cookie_domain old new; }}
        location /judged/ {{ proxy_pass {up.url}/; proxy_intercept_errors on; error_page 404 = /text/a.txt; }}
        location /text/ {{ internal; }}
        location /expiring/ {{ internal; alias {folder}/root/text/; expires max; }}
        location /proxied/ {{ internal; proxy_pass {up.url}/fields/; }}
        location /returned/ {{ internal; return 200 "text"; }}
        location /refused/ {{ internal; return 403; }}
        location /leading/ {{ internal; return 302 /elsewhere; }}
    }}
}}
"""


def response(request: Recorded, wire: Wire) -> bytes | None:
    """Respond with the received request, or with the response that the target names. All upstreams of these tests use it."""
    path, _, query = request.target.partition("?")
    if path.startswith("/early"):
        return reply(b"early", 503, [("Connection", "close")])
    if request.method != "HEAD" or request.get_all("Content-Length") or request.get_all("Transfer-Encoding"):
        wire.read_body(request)
    if path.startswith("/close"):
        wire.close()
        return None
    if path.startswith("/say/"):
        return reply(b"said", int(path[5:8]))
    if path.startswith("/do/accel"):
        return reply(b"not seen", headers=[("X-Accel-Redirect", query.partition("&")[0])])
    if path.startswith("/with/"):
        _, _, name, status = path.split("/")
        return reply(b"not seen", int(status), [*FIELDS[name], ("X-Accel-Redirect", query)])
    if path.startswith("/fields/"):
        return reply(b"" if request.method == "HEAD" else b"second", headers=FIELDS[path.split("/")[2]], length=6)
    framing = [f"{name}={value}" for name, value in request.headers if name.lower() in ("content-length", "transfer-encoding")]
    told = f"{request.method} {request.target} {framing} {len(request.body)} {hashlib.sha1(request.body).hexdigest()}"
    return reply(told.encode())


def body_of(size: int) -> bytes:
    """A body of that many bytes."""
    return bytes(range(256)) * (size // 256) + b"x" * (size % 256)
