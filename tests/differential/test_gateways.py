"""FastCGI, uwsgi and SCGI servers that follow a script, beside nginx: the requests that they receive, and unusual responses.

Rules:
- The script is named by the last part of the target. Both proxies ask the same server, which keeps every request.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import request_bytes, wait_until
from tests.support.comparison import Comparison, compare_with_nginx
from tests.support.gateway import END, Asked, GatewayServer, stderr, stdout

PROTOCOLS = ("fastcgi", "uwsgi", "scgi")
CONF = """
events {}
http {
    access_log off;
    server_tokens off;
    upstream u { server ADDRESS; keepalive 4; }
    server {
        listen 127.0.0.1:@PORT@;
        NAME_param REQUEST_URI $request_uri;
        NAME_param REQUEST_METHOD $request_method;
        NAME_param CONTENT_TYPE $content_type;
        MORE
        NAME_param EMPTY "" if_not_empty;
        NAME_param BLANK "";
        NAME_param HTTP_ACCEPT "of the file";
        NAME_param HTTP_EMPTY "";
        NAME_param HTTP_NONE $arg_none;
        NAME_read_timeout 2s;
        error_page 418 /teapot;
        location / { NAME_pass ADDRESS; }
        location /u/ { NAME_pass u; KEEP }
        location /off/ { NAME_pass u; NAME_request_buffering off; NAME_buffering off; }
        location /nobody/ { NAME_pass u; NAME_pass_request_body off; }
        location /intercept/ { NAME_pass u; NAME_intercept_errors on; }
        location /unbuffered/ { NAME_pass u; NAME_buffering off; }
        location /small/ { NAME_pass u; NAME_buffer_size 4k; }
        location /guarded/ { auth_request /check; alias /none/; }
        location = /check { internal; NAME_pass ADDRESS; NAME_pass_request_body off; }
        location = /teapot { return 200 "tea"; }
    }
}
"""

HEADS = {
    "plain": b"Content-Type: text/plain\r\n\r\nbody",
    "line-feeds": b"Content-Type: text/plain\nX-A: b\n\nbody",
    "mixed": b"Content-Type: text/plain\nX-A: b\r\n\nbody",
    "empty-head": b"\r\nbody",
    "status": b"Status: 404 Not There\r\nContent-Type: text/plain\r\n\r\nbody",
    "bare-status": b"Status: 404\r\n\r\nbody",
    "bad-status": b"Status: abc\r\n\r\nbody",
    "two-status": b"Status: 404 One\r\nStatus: 500 Two\r\n\r\nbody",
    "location": b"Location: http://elsewhere.test/x\r\n\r\n",
    "local-location": b"Location: /x?y\r\n\r\n",
    "status-and-location": b"Status: 201 Created\r\nLocation: /x\r\n\r\nbody",
    "status-line": b"HTTP/1.1 404 Not There\r\nContent-Type: text/plain\r\n\r\nbody",
    "intercept/teapot": b"Status: 418 Teapot\r\n\r\nbody",
    "length": b"Content-Length: 4\r\n\r\nbody",
    "too-long": b"Content-Length: 4\r\n\r\nbodymore",
    "too-short": b"Content-Length: 9\r\n\r\nbody",
    "unbuffered/too-long": b"Content-Length: 4\r\n\r\nbodymore",
    "unbuffered/too-short": b"Content-Length: 9\r\n\r\nbody",
    "two-lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    "bad-length": b"Content-Length: x\r\n\r\nbody",
    "no-content": b"Status: 204 No Content\r\n\r\n",
    "not-modified": b'Status: 304 Not Modified\r\nETag: "x"\r\n\r\n',
    "connection": b"Connection: close\r\nKeep-Alive: 5\r\n\r\nbody",
    "cookies": b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nset-cookie: c=3\r\n\r\nbody",
    "no-colon": b"Content-Type text/plain\r\n\r\nbody",
    "no-end": b"Content-Type: text/plain\r\n",
    "nothing": b"",
    "redirect": b"X-Accel-Redirect: /teapot\r\n\r\n",
    "latin": b"X-Latin: \xe9\r\n\r\n\xe9",
    "server": b"X-Pad: 1\r\nX-Other: 2\r\n\r\nbody",
    "empty-value": b"X-Empty:\r\nX-Blank:   \r\n\r\nbody",
    "reason-empty": b"Status: 200 \r\n\r\nbody",
    "status-600": b"Status: 600 Odd\r\n\r\nbody",
}
"""The output of the application, by the last parts of the target."""

FRAMES = {
    "no-end-of-request": lambda: stdout(b"Content-Type: text/plain\r\n\r\nbody"),
    "no-end-with-length": lambda: stdout(b"Content-Length: 9\r\n\r\nbody"),
    "half-a-record": lambda: stdout(b"Content-Type: text/plain\r\n\r\nbody")[:-2],
    "only-an-end": lambda: END,
    "only-stderr": lambda: stderr(b"wrong") + END,
    "stderr-first": lambda: stderr(b"careful") + stdout(b"Content-Type: text/plain\r\n\r\nbody") + END,
    "stderr-within": lambda: stdout(b"Content-Type: text/plain\r\n\r\nbo") + stderr(b"x") + stdout(b"dy") + END,
    "many-records": lambda: b"".join(stdout(bytes((byte,)), byte % 9) for byte in b"Status: 203 Odd\r\n\r\nbody") + END,
    "end-of-stdout": lambda: stdout(b"A: b\r\n\r\nbody") + stdout(b"") + END,
    "large": lambda: stdout(b"A: b\r\n\r\n" + b"x" * 300_000, 5) + END,
    "wrong-version": lambda: b"\2" + stdout(b"A: b\r\n\r\nbody")[1:] + END,
    "wrong-type": lambda: stdout(b"A: b\r\n\r\nbody", kind=11) + END,
    "http": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}
"""The bytes of FastCGI responses."""


def answer(protocol: str):  # type: ignore[no-untyped-def]
    def script(asked: Asked, sock: socket.socket) -> bytes | None:
        name = asked["REQUEST_URI"].partition("?")[0].lstrip("/").removeprefix("u/")
        if name in FRAMES:
            sock.sendall(FRAMES[name]())
            return None
        if name == "wait":
            time.sleep(4)
            return None
        data = HEADS.get(name, b"Content-Type: text/plain\r\n\r\nbody")
        return stdout(data) + stdout(b"") + END if protocol == "fastcgi" else data

    return script


class Site:
    """Both proxies in front of one server of a protocol."""

    def __init__(self, protocol: str, both: Comparison, server: GatewayServer) -> None:
        self.protocol = protocol
        self.both = both
        self.server = server

    def sent(self, data: bytes, method: str = "GET") -> tuple[Asked, Asked]:
        """Return the requests that the server gets from nginx and from this proxy."""
        before = len(self.server.asked)
        self.both.send(data, method)
        wait_until(lambda: len(self.server.asked) == before + 2, "both requests")
        return self.server.asked[-2], self.server.asked[-1]


@pytest.fixture(scope="module", params=PROTOCOLS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    protocol: str = request.param
    folder: Path = tmp_path_factory.mktemp(protocol)
    more = "" if protocol == "scgi" else f"{protocol}_param CONTENT_LENGTH $content_length;"
    with GatewayServer(protocol, answer(protocol)) as server:
        text = CONF.replace("NAME", protocol).replace("ADDRESS", server.address).replace("MORE", more)
        text = text.replace("KEEP", "fastcgi_keep_conn on;" if protocol == "fastcgi" else "")
        with compare_with_nginx(text, folder, sized=True) as both:
            yield Site(protocol, both, server)


def differences(site: Site, data: bytes, method: str = "GET") -> tuple[dict[str, object], dict[str, object]]:
    theirs, ours = site.both.send(data, method)
    return site.both.shown(theirs), site.both.shown(ours)


@pytest.mark.parametrize("name", HEADS)
def test_the_output_of_an_application(site: Site, name: str) -> None:
    theirs, ours = differences(site, request_bytes(f"/{name}", close=True))
    assert ours == theirs


@pytest.mark.parametrize("name", ["length", "plain", "too-long", "status"])
def test_a_response_to_head(site: Site, name: str) -> None:
    theirs, ours = differences(site, request_bytes(f"/{name}", "HEAD", close=True), "HEAD")
    assert ours == theirs


@pytest.mark.parametrize("place", ["/", "/u/"])
@pytest.mark.parametrize("name", FRAMES)
def test_records_of_a_response(site: Site, name: str, place: str) -> None:
    if site.protocol != "fastcgi":
        pytest.skip("only FastCGI has records")
    theirs, ours = differences(site, request_bytes(place + name, close=True))
    if place == "/" and name in ("no-end-of-request", "half-a-record"):
        # nginx takes the end of the connection for the end of the response.
        assert (theirs.pop("complete"), ours.pop("complete")) == (True, False)
    assert ours == theirs


def test_a_server_that_does_not_answer(site: Site) -> None:
    theirs, ours = differences(site, request_bytes("/wait", close=True))
    assert ours == theirs and ours["status"] == "504 Gateway Time-out"


FIELDS = [
    ("Accept", "text/html"),
    ("X-One", "1"),
    ("x-lower-case", "v"),
    ("Content-Type", "text/x-test"),
    ("X-Empty", ""),
    ("Empty", "held back"),
    ("None", "held back"),
    ("User-Agent", "test"),
]


@pytest.mark.parametrize("place", ["/", "/off/", "/nobody/"])
@pytest.mark.parametrize("size", [None, 0, 5, 65536, 65537])
def test_the_request_that_a_server_gets(site: Site, place: str, size: int | None) -> None:
    if place == "/nobody/" and size and site.protocol != "fastcgi":
        pytest.skip("nginx announces a body that it does not send")
    fields = [*FIELDS, *([("Content-Length", str(size))] if size is not None else [])]
    theirs, ours = site.sent(request_bytes(place + "plain", "POST", fields, b"x" * (size or 0), close=True), "POST")
    assert ours.params == theirs.params
    assert (ours.body, ours.modifiers, ours.keep) == (theirs.body, theirs.modifiers, theirs.keep)
    assert [kind for kind, _, _ in ours.records if kind != 5] == [kind for kind, _, _ in theirs.records if kind != 5]
    assert all(padding < 8 and (size + padding) % 8 == 0 and size <= 65535 for _, size, padding in ours.records)


@pytest.mark.parametrize("framing", [("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("X-None", "")])
def test_the_request_of_an_auth_request(site: Site, framing: tuple[str, str]) -> None:
    if framing[0] == "Content-Length" and site.protocol != "fastcgi":
        pytest.skip("nginx announces a body that it does not send")
    body = {"Content-Length": b"12345", "Transfer-Encoding": b"5\r\n12345\r\n0\r\n\r\n"}.get(framing[0], b"")
    theirs, ours = site.sent(request_bytes("/guarded/plain", "POST", [*FIELDS, framing], close=True) + body, "POST")
    assert ours.params == theirs.params
    assert ours.body == theirs.body == b""


@pytest.mark.ours_alone("gunicorn joins equal fields with a comma alone")
def test_equal_fields_are_joined(site: Site) -> None:
    fields = [("X-One", "1"), ("Cookie", "a=1"), ("X-One", "2"), ("Cookie", "b=2"), ("x-one", "3")]
    theirs, ours = site.sent(request_bytes("/plain", headers=fields, close=True))
    assert ours.params == theirs.params
    assert (ours["HTTP_X_ONE"], ours["HTTP_COOKIE"]) == ("1, 2, 3", "a=1; b=2")


@pytest.mark.parametrize("place", ["/", "/off/"])
@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_a_chunked_request(site: Site, place: str, size: int) -> None:
    body = b"x" * size
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:3], body[3:]) if piece) + b"0\r\n\r\n"
    head = request_bytes(place + "plain", "POST", [("Transfer-Encoding", "chunked")], close=True)
    theirs, ours = site.sent(head + chunks, "POST")
    if place == "/off/" and site.protocol == "fastcgi" and size < 100_000:
        # nginx knows the length of a body that has arrived together with the head.
        assert dict(theirs.params)[b"CONTENT_LENGTH"] in (b"", b"%d" % size) and dict(ours.params)[b"CONTENT_LENGTH"] == b""
        assert ours.body == theirs.body == body
        return
    assert ours.params == theirs.params
    assert ours.body == theirs.body == body


def test_a_kept_connection(site: Site) -> None:
    if site.protocol != "fastcgi":
        pytest.skip("only FastCGI keeps connections")
    before = site.server.connections
    for number in range(5):
        theirs, ours = site.sent(request_bytes(f"/u/plain?{number}", close=True))
        assert ours.keep and theirs.keep
    assert site.server.connections == before + 2


def test_a_response_without_its_end_does_not_keep_the_connection(site: Site) -> None:
    if site.protocol != "fastcgi":
        pytest.skip("only FastCGI keeps connections")
    for name in ("no-end-of-request", "plain", "half-a-record", "plain", "only-an-end", "plain"):
        theirs, ours = differences(site, request_bytes(f"/u/{name}", close=True))
        assert ours == theirs


def test_an_error_names_the_server(site: Site) -> None:
    site.both.send(request_bytes("/bad-status", close=True))
    wanted = f'request: "GET /bad-status HTTP/1.1", upstream: "{site.protocol}://{site.server.address}'
    wanted = f"while reading response header from upstream, client: 127.0.0.1, server: , {wanted}"
    for server in site.both.servers:
        wait_until(lambda server=server: wanted in server.log(), "the line about the status")
