"""`auth_request` beside nginx: the request that the deciding server gets, the variables of its response, and every status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Recorded, Recorder, Wire, reply, request_bytes
from tests.support.comparison import Comparison, compare_with_nginx

CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    server_tokens off; access_log off;
    server {
        listen 127.0.0.1:@PORT@; server_name first.test *.wild.test; root @FOLDER@/www;
        proxy_set_header Connection "";
        location = /auth {
            internal; proxy_pass http://127.0.0.1:UP/decide; proxy_pass_request_body off; proxy_set_header Content-Length "";
            proxy_set_header Host $host; proxy_set_header X-Names "$host|$http_host|$server_name|$server_port|$scheme";
            proxy_set_header X-Request "$request_method|$request_uri|$request|$uri|$args|$is_args|$arg_a|$query_string";
            proxy_set_header X-Length "$content_length|$content_type|$http_content_length|$request_body";
            proxy_set_header X-Others "$remote_addr|$http_cookie|$cookie_c|$http_range|$http_if_none_match|$mine";
        }
        location = /auth/plain { internal; proxy_pass http://127.0.0.1:UP/decide; }
        location = /auth/returned { internal; return 204; }
        location = /auth/text { internal; return 200 text; }
        location = /auth/page { internal; error_page 401 =204 /auth/returned; return 401; }
        location = /auth/nested { internal; auth_request /auth/returned; return 200 nested; }
        location = /auth/dead { internal; proxy_pass http://127.0.0.1:1; }
        location /site/ { set $mine "m"; auth_request /auth; proxy_pass http://127.0.0.1:UP/site/; }
        location /plain/ { auth_request /auth/plain; proxy_pass http://127.0.0.1:UP/site/; }
        location /set/ {
            auth_request /auth; auth_request_set $user $upstream_http_x_user; auth_request_set $code $upstream_status;
            auth_request_set $inner_uri $uri; auth_request_set $inner_status $status;
            auth_request_set $type $sent_http_content_type;
            auth_request_set $none $upstream_http_none; auth_request_set $cookie $upstream_http_set_cookie;
            auth_request_set $name $upstream_cookie_name;
            proxy_set_header X-User $user; add_header X-Set "$user|$code|$inner_uri|$inner_status|$type|$none" always;
            add_header Set-Cookie $cookie; add_header X-Name "$name" always;
            proxy_pass http://127.0.0.1:UP/site/;
        }
        location /args/ {
            auth_request /auth; auth_request_set $args "from=$upstream_http_x_user"; proxy_pass http://127.0.0.1:UP;
        }
        location /rate/ { auth_request /auth; auth_request_set $limit_rate 100k; proxy_pass http://127.0.0.1:UP/site/; }
        location /twice/ { auth_request /auth; auth_request_set $user "a$upstream_http_x_user"; auth_request_set $user "b$user";
            add_header X-Set $user always; proxy_pass http://127.0.0.1:UP/site/; }
        location /login/ { auth_request /auth; error_page 401 = @login; proxy_pass http://127.0.0.1:UP/site/; }
        location @login { return 302 /sign-in?rd=$scheme://$host$request_uri; }
        location /page/ { auth_request /auth; error_page 401 403 /denied.html; proxy_pass http://127.0.0.1:UP/site/; }
        location = /denied.html { internal; add_header X-Line "$request_method|$request" always; }
        location /returned/ { auth_request /auth/returned; alias @FOLDER@/www/; }
        location /text/ { auth_request /auth/text; alias @FOLDER@/www/; }
        location /own-page/ { auth_request /auth/page; alias @FOLDER@/www/; }
        location /nested/ { auth_request /auth/nested; alias @FOLDER@/www/; }
        location /dead/ { auth_request /auth/dead; alias @FOLDER@/www/; }
        location /none/ { auth_request /auth/none; alias @FOLDER@/www/; }
        location /any/ { satisfy any; deny all; auth_request /auth; alias @FOLDER@/www/; }
        location /query/ { auth_request /auth?a=1; alias @FOLDER@/www/; }
        location /error/ { error_page 404 /denied.html; return 404; }
    }
}
"""
STATUSES = [200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 500, 503]


def respond(request: Recorded, wire: Wire) -> bytes:
    """Decide by the client's X-Decide; every other target responds with the request."""
    if not request.target.startswith("/decide"):
        shown = "\n".join(f"{name}: {value}" for name, value in sorted(request.headers) if name.lower() != "host")
        return reply(f"{request.method} {request.target}\n{shown}\n{request.body!r}".encode())
    status = int(request.get("x-decide") or 200)
    fields = [
        ("X-User", "alice"),
        ("WWW-Authenticate", "Basic realm=up"),
        ("Set-Cookie", "name=v; Path=/"),
        ("Content-Type", "t/x"),
    ]
    bodiless = status in (204, 304)
    return reply(b"" if bodiless else b"decided", status, fields, length=None if bodiless else -1)


@pytest.fixture(scope="module")
def up() -> Iterator[Recorder]:
    with Recorder(respond) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def both(up: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("auth")
    (folder / "www").mkdir()
    (folder / "www" / "a.txt").write_text("a file")
    (folder / "www" / "denied.html").write_text("denied")
    with compare_with_nginx(CONF.replace("UP", str(up.port)), folder) as both:
        both.up = up.port
        yield both


def asked(both: Comparison, up: Recorder) -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
    """Return the requests that the upstream has got since the last call, comparable."""
    seen = []
    for request in up.requests:
        fields = [
            (name.lower(), value.replace(str(both.theirs), "PORT").replace(str(both.ours), "PORT"))
            for name, value in request.headers
        ]
        seen.append((request.method, request.target, sorted(fields), request.body))
    up.requests.clear()
    return seen


CASES = [
    ("/site/x?a=1&b=2", "GET", [("Cookie", "c=1"), ("Range", "bytes=0-1"), ("If-None-Match", '"x"')], b""),
    ("/site/x", "POST", [("Content-Type", "t/y")], b"body"),
    ("/site/x", "HEAD", [], b""),
    ("/site/x", "DELETE", [("Host", "a.wild.test:81")], b""),
    ("/site/%41b%20c", "PUT", [("Host", "FIRST.test")], b"x" * 3000),
    ("/plain/x", "GET", [("X-A", "1"), ("Accept", "*/*")], b""),
    ("/set/x", "GET", [], b""),
    ("/args/x?a=1", "GET", [], b""),
    ("/args/x", "POST", [], b"body"),
    ("/rate/x", "GET", [], b""),
    ("/twice/x", "GET", [], b""),
    ("/any/a.txt", "GET", [], b""),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case[1]} {case[0]}" for case in CASES])
def test_both_servers_get_the_same(both: Comparison, up: Recorder, case: tuple[str, str, list[tuple[str, str]], bytes]) -> None:
    target, method, fields, body = case
    up.requests.clear()
    theirs, ours = both.send(request_bytes(target, method, fields, body, close=True), method)
    assert both.shown(ours) == both.shown(theirs)
    seen = asked(both, up)
    half = len(seen) // 2
    assert half
    assert seen[half:] == seen[:half]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("place", ["site", "set", "login", "page", "any"])
def test_every_decision(both: Comparison, place: str, status: int) -> None:
    for method in ("GET", "POST"):
        both.compare(f"/{place}/a.txt", method, [("X-Decide", str(status))])


@pytest.mark.parametrize("place", ["returned", "text", "own-page", "nested", "dead", "none", "error", "query"])
def test_other_deciding_locations(both: Comparison, place: str) -> None:
    for method in ("GET", "POST"):
        both.compare(f"/{place}/a.txt", method)
