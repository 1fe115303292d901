"""Hostile and unusual requests through the whole proxy: the response, and the exact bytes at the upstream (request_cases.py).

After every case the same connection, where it lives on, and a new one get their own answers. Under gunicorn's own workers, whose
parser has its own opinions, what counts is that nothing doubtful reaches the upstream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Response,
    Running,
    Wire,
    chunked,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_gunicorn,
    run_proxy,
)
from tests.support.request_cases import CASES, CHUNKS, CODINGS, HIDDEN, LENGTHS, MAX_BODY, PIPELINES, Case
from wsgi_proxy.http.request import parse_request_head

CONFIGURATION = """
worker_processes 1;
error_log stderr info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_max_body_size {limit};
    client_body_timeout 5s;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        server_name front;
        location = /returned {{ return 200 returned; }}
        location = /denied {{ deny all; }}
        location = /broken {{ return 500; }}
        location / {{
            proxy_pass http://echo;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection 'upgrade';
            proxy_set_header Host $host;
            proxy_request_buffering {buffering};
        }}
    }}
}}
"""


def own(request: Recorded, wire: Wire) -> bytes:
    return reply(request.target.encode("latin-1"))


class Place:
    """A proxy and its upstream."""

    def __init__(self, proxy: Running, upstream: Recorder, streams: bool = False) -> None:
        self.port = proxy.port
        self.streams = streams
        self.upstream = upstream
        upstream.response = own

    def seen(self) -> list[Recorded]:
        """Return the bytes that reached the upstream for a case."""
        return [request for request in self.upstream.requests if "/own-" not in request.target]

    def check_others(self, client: Client | None) -> None:
        """The next request, on this connection and on a new one, gets its own answer."""
        if client is not None:
            assert client.exchange(request_bytes("/own-same")).body == b"/own-same"
        assert fetch(self.port, "/own-new").body == b"/own-new"

    def check_wire(self) -> None:
        """Nothing on the upstream's wire has two readings, and no hidden request got there."""
        assert not self.upstream.garbage
        for number, request in enumerate(self.upstream.requests, 1):
            head = parse_request_head(request.raw_head)
            names = [name.lower() for name, _ in head.pairs]
            assert names.count("host") == 1 and names.count("content-length") + names.count("transfer-encoding") <= 1
            assert "hidden" not in request.target
            if not request.complete:
                # A body that broke off while it was passed on: the connection ends with it.
                assert self.streams and request.connection not in {other.connection for other in self.upstream.requests[number:]}


def text(buffering: str, upstream: Recorder) -> str:
    return CONFIGURATION.format(limit=MAX_BODY, address=upstream.address, port=free_port(), buffering=buffering)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Recorder() as upstream, run_proxy(text("on", upstream), tmp_path_factory.mktemp("hostile")) as proxy:
        yield Place(proxy, upstream)
        assert "Traceback" not in proxy.log(), proxy.log()


@pytest.fixture(scope="module", params=["streaming", "gthread", "gevent"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with Recorder() as upstream:
        if request.param == "streaming":
            with run_proxy(text("off", upstream), folder) as proxy:
                yield Place(proxy, upstream, streams=True)
            return
        path = folder / "nginx.conf"
        path.write_text(text("on", upstream))
        args = ["--threads", "8"] if request.param == "gthread" else []
        with run_gunicorn("wsgi_proxy:app", folder, request.param, env={"WSGI_PROXY_CONFIG": str(path)}, args=args) as server:
            yield Place(server, upstream)


def responses(client: Client, case: Case) -> list[Response]:
    """Return the final responses to a case, as many as it must have."""
    methods = case.methods or ("GET",) * len(case.responses)
    return [client.read_response(method) for method in methods]


def check(place: Place, case: Case, pieces: list[bytes]) -> None:
    """Send a case in pieces, and compare all that comes of it with the table."""
    place.upstream.requests.clear()
    with Client(place.port) as client:
        for piece in pieces:
            client.send(piece)
        got = responses(client, case)
        for response, allowed in zip(got, case.responses, strict=True):
            assert response.status in allowed and response.complete and not (response.status >= 400 and response.interim), (
                response
            )
        if case.ends:
            assert not client.read_all()
        place.check_others(None if case.ends else client)
    seen = place.seen()
    assert [request.raw_head for request in seen] == [expected.head() for expected in case.seen]
    assert [request.body for request in seen] == [expected.body or b"" for expected in case.seen]
    place.check_wire()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_what_the_upstream_sees(place: Place, case: Case) -> None:
    check(place, case, [case.data + case.behind])


@pytest.mark.parametrize("case", [case for case in CASES if len(case.data) < 400], ids=lambda case: case.sentence)
def test_it_is_the_same_in_pieces(place: Place, case: Case) -> None:
    """Cut behind every CR, where a reader of lines is most easily wrong."""
    check(place, case, [*re.findall(rb"[^\r]*\r|[^\r]+$", case.data), *filter(None, [case.behind])])


BEGINNINGS = [
    b"GET /p\r\n",
    b"GET /p HTTP/2.0\r\nHost",
    b"get /p HTTP/1.1\r\n",
    b"GET /p HTTP/1.1\nHost",
    b"GET /p HTTP/1.1\r\nHost: a.example\nX",
    b"GET /p HTTP/1.1\r\nHost: a.example\rX",
    b"GET /p HTTP/1.1\r\nHost: a.example\r\nX: \0",
    b"\x16\x03\x01\x02\x00\x01",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"garbage",
    b"{",
    b"\r\n\r\n\r\r",
]


@pytest.mark.parametrize("data", BEGINNINGS)
def test_what_cannot_become_a_request_is_refused_at_once(place: Place, data: bytes) -> None:
    with Client(place.port) as client:
        client.send(data)
        assert client.read_response().status in (400, 505)
        assert not client.read_all()


IGNORED = [
    (b"Content-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
    (b"Content-Length: 90000\r\n", HIDDEN * 2000),
    (b"Content-Length: %d\r\nExpect: 100-continue\r\n" % len(HIDDEN), HIDDEN),
    (b"Transfer-Encoding: chunked\r\n", b"x\r\n" + HIDDEN),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HIDDEN),
]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("target", [b"/returned", b"/denied", b"/broken"])
@pytest.mark.parametrize(("framing", "body"), IGNORED, ids=range(len(IGNORED)))
def test_a_body_that_nobody_reads_is_no_request(place: Place, target: bytes, framing: bytes, body: bytes, late: bool) -> None:
    """The response does not wait for the body, early or late: it is skipped, or the connection ends."""
    place.upstream.requests.clear()
    with Client(place.port) as client:
        client.send(b"POST " + target + b" HTTP/1.1\r\nHost: a.example\r\n" + framing + b"\r\n" + (b"" if late else body))
        first = client.read_response("POST")
        assert first.status in (200, 400, 403, 500) and not first.interim
        try:
            client.send((body if late else b"") + b"GET /own-behind HTTP/1.1\r\nHost: a.example\r\n\r\n")
            response = client.read_response()
        except ConnectionError:
            assert (first.get("Connection") or "close") == "close" or late
        else:
            assert response.body == b"/own-behind"
            assert not client.buffer
    place.check_others(None)
    assert not place.seen()


def test_a_client_of_http_1_0_gets_no_chunks(place: Place) -> None:
    place.upstream.response = lambda request, wire: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"a", b"bc")
    )
    try:
        with Client(place.port) as client:
            client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n")
            data = client.read_all()
    finally:
        place.upstream.response = own
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"abc" and b"connection: close" in head.lower() and b"transfer-encoding" not in head.lower()


def test_a_client_that_waits_for_100_gets_it_once(place: Place) -> None:
    place.upstream.requests.clear()
    with Client(place.port) as client:
        client.send(request_bytes("/p", "POST", [("Expect", "100-continue"), ("Content-Length", "5")]))
        assert client.read_head().startswith(b"HTTP/1.1 100 ")
        client.send(b"hel")
        client.send(b"lo")
        response = client.read_response("POST")
        assert (response.status, response.interim) == (200, [])
    assert place.seen()[0].body == b"hello" and place.seen()[0].get("Expect") is None


@pytest.mark.parametrize("size", [0, 10, 99_999])
def test_a_body_that_breaks_off_reaches_no_upstream(place: Place, size: int) -> None:
    place.upstream.requests.clear()
    with Client(place.port) as client:
        client.send(request_bytes("/p", "POST", [("Content-Length", "100000")]) + b"x" * size)
        client.half_close()
        assert not client.read_all()
    place.check_others(None)
    assert not place.seen()


DOUBTFUL = [
    case for case in CASES if len(case.data) < 100_000 and not case.seen or case in LENGTHS + CODINGS + CHUNKS + PIPELINES
]


@pytest.mark.parametrize("case", DOUBTFUL, ids=lambda case: case.sentence)
def test_no_worker_lets_doubt_through(other: Place, case: Case) -> None:
    """Whichever parser was first, the upstream gets bytes with one reading, and no more than the one request."""
    other.upstream.requests.clear()
    with Client(other.port, 2.0) as client:
        try:
            client.send(case.data)
            client.half_close()
            client.read_all()
        except OSError:
            client.ended = True  # it was refused before all of it was sent
    other.check_others(None)
    other.check_wire()


def test_streaming_refuses_before_a_server_is_asked(tmp_path: Path) -> None:
    """Invalid body bytes that arrive with the head reach no upstream, although bodies are streamed."""
    with Recorder() as upstream, run_proxy(text("off", upstream), tmp_path) as proxy:
        for body, status in ((b"x\r\n", 400), (b"5\r\nhello!\r\n", 400), (b"186a1\r\nx", 413)):
            with Client(proxy.port) as client:
                head = request_bytes("/", "POST", [("Transfer-Encoding", "chunked")])
                assert client.exchange(head + body, "POST").status == status
        assert not upstream.requests
