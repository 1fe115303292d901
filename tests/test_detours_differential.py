"""Requests that go on to another place of their server, beside nginx: their bodies, the servers chosen, the fields kept.

Rules:
- Both run the same file in front of the same upstream, which tells in its answer what it was sent.
- Where nginx itself loses a body (`proxy_request_buffering off`), the expectation is written here instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorder, free_port, parse_response, reply, request_bytes, run_nginx, run_proxy, send_raw
from tests.support.client import Response
from tests.support.recorder import Recorded, Wire

SIZES = (0, 1, 16 * 1024, 1024 * 1024)
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
COMPARED = """
content-type content-disposition set-cookie cache-control expires accept-ranges content-language content-encoding etag location
refresh www-authenticate vary link x-app content-range x-tries content-length
""".split()


def conf(port: int, up: Recorder, other: Recorder, dead: int, folder: Path) -> str:
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
        listen {port};
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
        location /expiring/ {{ internal; alias {folder}/root/text/; expires 1h; }}
        location /proxied/ {{ internal; proxy_pass {up.url}/fields/; }}
        location /returned/ {{ internal; return 200 "text"; }}
        location /refused/ {{ internal; return 403; }}
        location /leading/ {{ internal; return 302 /elsewhere; }}
    }}
}}
"""


def answer(request: Recorded, wire: Wire) -> bytes | None:
    """What every upstream of these tests says: what it got, or what the target asks for."""
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


class Both:
    """nginx and this proxy on the same file."""

    def __init__(self, nginx: int, ours: int, up: Recorder, other: Recorder) -> None:
        self.nginx = nginx
        self.ours = ours
        self.up = up
        self.other = other

    def ask(self, data: bytes, method: str = "POST") -> tuple[Response, Response]:
        """Their answer and ours."""
        return self.answer(self.nginx, data, method), self.answer(self.ours, data, method)

    @staticmethod
    def answer(port: int, data: bytes, method: str = "POST") -> Response:
        found = parse_response(send_raw(port, data, timeout=30.0), method)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("detours")
    (folder / "root" / "text").mkdir(parents=True)
    for name, text in (("a.txt", "file"), ("q?m.txt", "asked"), ("p%41.txt", "percent"), ("none", "no type")):
        (folder / "root" / "text" / name).write_text(text)
    theirs, ours, dead = free_port(), free_port(), free_port()
    with (
        Recorder(answer, read_body=False) as up,
        Recorder(answer, read_body=False) as other,
        run_nginx(conf(theirs, up, other, dead, folder), folder),
        run_proxy(conf(ours, up, other, dead, folder), folder),
    ):
        yield Both(theirs, ours, up, other)


def shown(response: Response) -> dict[str, object]:
    """What of an answer is compared."""
    fields = {name: values for name in COMPARED if (values := response.get_all(name))}
    if "location" in fields:
        fields["location"] = [re.sub(r":\d+/", "/", value) for value in fields["location"]]
    body = response.body
    if body.startswith(b"<html>") or (response.status >= 300 and not body):
        # Ours names another server.
        body = body.partition(b"<hr>")[0]
        fields.pop("content-length", None)
    return {"status": response.status, "body": body, "complete": response.complete, "fields": fields}


def repaired(theirs: dict[str, object], target: str) -> dict[str, object]:
    """nginx's answer without what is no example: fields sent twice that may be sent once, the charset of one Content-Type in
    another's, and fields that `proxy_hide_header` names."""
    fields: dict[str, list[str]] = theirs["fields"]  # type: ignore[assignment]
    for name in ("content-disposition", "expires", "accept-ranges"):
        if name in fields:
            del fields[name][1:]
    if fields.get("content-type", [""])[0].startswith("text/html") or target.endswith(("/proxied/plain", "/proxied/hidden")):
        fields["content-type"] = [fields["content-type"][0].partition(";")[0]]
    if target.startswith("/hide/"):
        fields.pop("set-cookie", None)
        fields.pop("cache-control", None)
    return theirs


def body_of(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + b"x" * (size % 256)


def post(target: str, size: int, framing: str, method: str = "POST") -> bytes:
    """A request with a body of that size."""
    body = body_of(size)
    if framing == "length":
        head, data = f"Content-Length: {size}", body
    else:
        head = "Transfer-Encoding: chunked"
        pieces = [body[at : at + 50_000] for at in range(0, size, 50_000)]
        data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{head}\r\n\r\n".encode() + data


BODIES = """
/dead/named /dead/uri /dead/status /dead/streamed /dead/twice /intercepted/named /intercepted/uri /intercepted/early /closed
/accel/uri /accel/named /accel/failing /accel/twice /auth /denied /set/first /set/then /dropped/first /dropped/then /tried
""".split()
STREAMED = "/streamed/named /streamed/both /streamed/intercepted /streamed/early".split()


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("target", BODIES)
def test_the_body_goes_where_the_request_goes(both: Both, target: str, framing: str) -> None:
    for size in SIZES:
        theirs, ours = both.ask(post(target, size, framing))
        assert shown(ours) == shown(theirs), size


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("target", STREAMED)
def test_a_streamed_body_arrives_whole_or_the_request_fails(both: Both, target: str, framing: str) -> None:
    """nginx announces the whole length here, and sends what is left of the body."""
    for size in SIZES:
        ours = both.answer(both.ours, post(target, size, framing))
        told = hashlib.sha1(body_of(size)).hexdigest().encode()
        if size == SIZES[-1] and target in ("/streamed/intercepted", "/streamed/early") and ours.status != 200:
            assert ours.status == 502
        else:
            assert (ours.status, ours.body.split()[-2:]) == (200, [b"%d" % size, told])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("target", ["/limited", "/limited/uri"])
def test_a_body_that_was_refused_goes_nowhere(both: Both, target: str, framing: str) -> None:
    """With 1 MB under a length nginx announces a body to the page's upstream, and has none to send."""
    for size in SIZES:
        ours = both.answer(both.ours, post(target, size, framing))
        if (size, framing) != (SIZES[-1], "length"):
            assert shown(ours) == shown(both.answer(both.nginx, post(target, size, framing)))
        if size > 1024:
            assert ours.body.split()[2:-1] == [b"['Content-Length=0']", b"0"]


PLACES = "/pair/named /pair/next /pair/accel /spare/named /spare/next /half/named".split()


@pytest.mark.parametrize("target", PLACES)
def test_a_redirect_within_asks_every_server_again(both: Both, target: str) -> None:
    for _ in range(4):
        theirs, ours = both.ask(request_bytes(target, close=True), "GET")
        assert shown(ours) == shown(theirs)


ACCELERATED = [
    *(f"/app/with/{name}/200?/{place}" for name in FIELDS for place in (
        "text/a.txt", "text/none", "text/missing", "expiring/a.txt", "proxied/plain", "proxied/all", "proxied/hidden",
        "returned/", "refused/", "leading/",
    )),
    *(f"/{place}/with/{name}/200?/text/a.txt" for place in ("hide", "cookie") for name in ("hidden", "all")),
    *(f"/{place}/with/all/{status}?/text/a.txt" for place in ("app", "judged") for status in (201, 404, 500)),
    *(f"/app/with/plain/200?{where}" for where in (
        "/text/q%3Fm.txt", "/text/p%2541.txt", "/text/a.txt%3F", "/text/a.txt?", "/text/a.txt?a=%3F?b", "/text/%2e%2e/a.txt",
        "/text/../text/a.txt", "/text/a%00.txt", "/text/x/../a.txt", "/text/..", "/text/...", "/text/..%2fa", "/text//a.txt",
        "/text/a.txt%23", "/up/a%20b%3Fc?d%20e", "/up/..", "", "?a=b", "text/a.txt", "@up", "@none", "/", "%2Ftext/a.txt",
        "/text/%zz", "/text/%4",
    )),
]  # fmt: skip


@pytest.mark.parametrize("target", ACCELERATED)
def test_what_an_accelerated_answer_keeps(both: Both, target: str) -> None:
    for method, more in (("GET", []), ("HEAD", []), ("GET", [("Range", "bytes=1-2")])):
        theirs, ours = both.ask(request_bytes(target, method, more, close=True), method)
        assert shown(ours) == repaired(shown(theirs), target), (method, more)
