"""HTTP/2 from clients, HTTP/1.1 to the upstream: framing stays correct, and no line end crosses.

The library that reads HTTP/2 refuses most malformed input by ending the connection, where nginx answers 400.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.support import Recorded, Recorder, Wire, connect, free_port, reply, run_proxy
from tests.support.frames import FrameClient
from tests.support.tls import Files

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_max_body_size 100000;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        http2 on;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{ proxy_pass http://echo; proxy_set_header Host $host; }}
        location /none {{ return 444; }}
    }}
}}
"""

Pairs = list[tuple[str, str]]
ENDS = (h2.events.StreamReset, h2.events.StreamEnded)
PSEUDO = {":method": "POST", ":scheme": "https", ":authority": "a.example", ":path": "/p"}


class Place:
    """The proxy's port, its upstream, and how to trust it."""

    def __init__(self, port: int, upstream: Recorder, ca: str) -> None:
        self.port = port
        self.upstream = upstream
        self.context = ssl.create_default_context(cafile=ca)
        self.context.set_alpn_protocols(["h2"])

    def ask(self, fields: Pairs, body: bytes | None = None) -> int:
        """The status of the response; 0 if the stream or the connection was ended instead."""
        self.upstream.requests.clear()
        options = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
        )
        client = h2.connection.H2Connection(config=options)
        client.initiate_connection()
        client.send_headers(1, fields, end_stream=body is None)
        with self.context.wrap_socket(connect(self.port, 30), server_hostname="a.example") as sock:
            try:
                return self._converse(sock, client, body)
            except ConnectionError:
                return 0
            except ssl.SSLError:  # the end of the connection without TLS's own
                return 0

    def _converse(self, sock: ssl.SSLSocket, client: h2.connection.H2Connection, left: bytes | None) -> int:
        status = 0
        sock.sendall(client.data_to_send())
        while True:
            if left is not None:
                room = min(client.local_flow_control_window(1), client.max_outbound_frame_size)
                if room or not left:
                    client.send_data(1, left[:room], end_stream=len(left) <= room)
                    left = left[room:] if len(left) > room else None
                    sock.sendall(client.data_to_send())
                    continue
            data = sock.recv(65536)
            if not data:
                return status
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    headers: Any = dict(event.headers)
                    status = int(headers[":status"])
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return status
            if status >= 400:
                return status
            sock.sendall(client.data_to_send())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("http2")
    files = Files(folder)
    certificate, key = files.pair("a.example")
    with Recorder() as upstream:
        text = CONFIGURATION.format(address=upstream.address, port=free_port(), certificate=certificate, key=key)
        with run_proxy(text, folder) as proxy:
            yield Place(proxy.port, upstream, files.ca_path)
            log = proxy.log()
            assert "Traceback" not in log, log[log.index("Traceback") :][:3000]


def fields(*more: tuple[str, str], **pseudo: str) -> Pairs:
    return [(name, pseudo.get(name[1:], value)) for name, value in PSEUDO.items()] + list(more)


HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD: dict[str, tuple[Pairs, bytes | None, list[str], bytes]] = {
    "a length": (fields(("content-length", "5")), b"hello", ["Content-Length: 5"], b"hello"),
    "no length": (fields(), b"hello", ["Content-Length: 5"], b"hello"),
    "no length, much": (fields(), b"x" * 99_000, ["Content-Length: 99000"], b"x" * 99_000),
    "no body": (fields(), None, [], b""),
    "an empty body": (fields(), b"", ["Content-Length: 0"], b""),
    "a request as a body": (fields(), HIDDEN, [f"Content-Length: {len(HIDDEN)}"], HIDDEN),
    "repeated fields": (fields(("x", "1"), ("y", "2"), ("x", "3")), None, ["x: 1", "y: 2", "x: 3"], b""),
    "a Cookie in pieces": (fields(("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")), None, ["x: y", "cookie: a=1; b=2"], b""),
    "what ends here": (fields(("proxy", "x"), ("x_y", "z"), ("x_forwarded_for", "6.6.6.6"), ("te", "trailers")), None, [], b""),
    "passed on": (fields(("x-forwarded-for", "6.6.6.6")), None, ["x-forwarded-for: 6.6.6.6"], b""),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_upstream_sees(place: Place, name: str) -> None:
    sent, body, lines, content = GOOD[name]
    assert place.ask(sent, body) == 200
    (request,) = place.upstream.requests
    assert request.raw_head.decode() == "\r\n".join(["POST /p HTTP/1.1", "Host: a.example", *lines, "", ""])
    assert request.body == content and request.complete


BAD: dict[str, tuple[Pairs, bytes | None]] = {
    "a length too short": (fields(("content-length", "3")), b"hello"),
    "a length too long": (fields(("content-length", "9")), b"hello"),
    "two lengths": (fields(("content-length", "5"), ("content-length", "6")), b"hello"),
    "a length with a sign": (fields(("content-length", "+5")), b"hello"),
    "Transfer-Encoding": (fields(("transfer-encoding", "chunked")), b"0\r\n\r\n" + HIDDEN),
    "CR LF in a value": (fields(("x", "a\r\nx-evil: 1")), None),
    "LF in a value": (fields(("x", "a\nx-evil: 1")), None),
    "NUL in a value": (fields(("x", "a\0b")), None),
    "CR LF in a name": (fields(("x\r\nx-evil", "b")), None),
    "a colon in a name": (fields(("x: y", "b")), None),
    "a space in a name": (fields(("x y", "b")), None),
    "a name in capitals": (fields(("X-Up", "b")), None),
    "a line in the path": (fields(path="/p HTTP/1.1\r\nX: y"), None),
    "a space in the path": (fields(path="/a b"), None),
    "a fragment": (fields(path="/a#b"), None),
    "no slash": (fields(path="p"), None),
    "an empty path": (fields(path=""), None),
    "a URL for a path": (fields(path="http://b.example/p"), None),
    "an asterisk": (fields(path="*"), None),
    "a space in the method": (fields(method="GE T"), None),
    "a line in the method": (fields(method="GET /hidden HTTP/1.1\r\nX:"), None),
    "a lower-case method": (fields(method="get"), None),
    "TRACE": (fields(method="TRACE"), None),
    "a user in the authority": (fields(authority="u@a.example"), None),
    "a space in the authority": (fields(authority="a b"), None),
    "a line in the authority": (fields(authority="a\r\nX: y"), None),
    "another Host": (fields(("host", "b.example")), None),
    "no authority": ([pair for pair in fields() if pair[0] != ":authority"], None),
    "two Hosts": ([pair for pair in fields(("host", "a"), ("host", "b")) if pair[0] != ":authority"], None),
    "Connection": (fields(("connection", "close, x-a"), ("x-a", "1")), None),
    "Upgrade": (fields(("upgrade", "h2c")), None),
    "another TE": (fields(("te", "gzip")), None),
    "a length over the limit": (fields(("content-length", "100001")), b"x" * 100_001),
    "a body over the limit": (fields(), b"x" * 100_001),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_upstream_sees(place: Place, name: str) -> None:
    assert place.ask(*BAD[name]) in (0, 400, 405, 413)
    assert not place.upstream.requests and not place.upstream.garbage


def test_a_body_behind_a_length_of_nothing(place: Place) -> None:
    """It may arrive after the response: it belongs to no request."""
    place.ask(fields(("content-length", "0")), HIDDEN)
    assert all((request.target, request.body) == ("/p", b"") for request in place.upstream.requests)
    assert place.ask(fields()) == 200 and len(place.upstream.requests) == 1


def test_no_answer_at_all(place: Place) -> None:
    assert place.ask(fields(method="GET", path="/none")) == 0


@pytest.mark.parametrize("lines", [b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"])
def test_a_cut_answer_ends_its_stream_and_no_other(place: Place, lines: bytes) -> None:
    def cut(request: Recorded, wire: Wire) -> bytes | None:
        if request.target == "/whole":
            return reply(b"whole")
        wire.send(b"HTTP/1.1 200 OK\r\n" + lines)
        wire.close()
        return None

    before = place.upstream.response
    place.upstream.response = cut
    try:
        client = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        client.initiate_connection()
        client.send_headers(1, fields(method="GET", path="/cut"), end_stream=True)
        with place.context.wrap_socket(connect(place.port, 30), server_hostname="a.example") as sock:
            seen: list[Any] = []
            for stream in (1, 3):
                sock.sendall(client.data_to_send())
                while not any(getattr(event, "stream_id", 0) == stream and isinstance(event, ENDS) for event in seen):
                    data = sock.recv(65536)
                    assert data, seen
                    seen += client.receive_data(data)
                if stream == 1:
                    client.send_headers(3, fields(method="GET", path="/whole"), end_stream=True)
        ends = {event.stream_id: type(event) for event in seen if isinstance(event, ENDS)}
        assert ends == {1: h2.events.StreamReset, 3: h2.events.StreamEnded}
    finally:
        place.upstream.response = before


def test_windows_that_are_opened_together(place: Place) -> None:
    """Two TLS records in one segment, each opening one of the two windows that the rest of the response waits for."""
    before, body = place.upstream.response, bytes(range(256)) * 400
    place.upstream.response = lambda request, wire: reply(body)
    received, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = place.context.wrap_bio(received, out, server_hostname="a.example")
    client = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
    client.initiate_connection()
    client.send_headers(1, fields(method="GET"), end_stream=True)
    try:
        with connect(place.port, 30) as sock:
            at_once(tls.do_handshake, received, out, sock)
            tls.write(client.data_to_send())
            seen: list[Any] = []
            length = 0
            while not any(isinstance(event, ENDS) for event in seen):
                new = client.receive_data(at_once(lambda: tls.read(65536), received, out, sock))
                seen += new
                length += sum(len(event.data) for event in new if isinstance(event, h2.events.DataReceived))
                if length == 65535 and new:
                    for stream in (1, None):
                        client.increment_flow_control_window(65535, stream)
                        tls.write(client.data_to_send())
        assert isinstance(seen[-1], h2.events.StreamEnded) and length == len(body)
    finally:
        place.upstream.response = before


def at_once(work: Any, received: ssl.MemoryBIO, out: ssl.MemoryBIO, sock: Any) -> Any:
    """Return the result of a step of TLS. Its output is sent in one piece before it waits for input."""
    while True:
        try:
            return work()
        except ssl.SSLWantReadError:
            sock.sendall(out.read())
            data = sock.recv(65536)
            assert data, "the connection ended"
            received.write(data)


REFUSED = """
worker_processes 1; events {{ }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port}; http2 on; error_page 400 /page; error_page 405 =200 /page; add_header A $status always;
        location /page {{ add_header B "$request_method $uri" always; return 200 "the page"; }}
    }}
}}
"""


@pytest.mark.parametrize(
    ("pairs", "status"), [(fields(method="GE T"), 400), (fields(authority="a b"), 400), (fields(method="TRACE"), 200)]
)
def test_the_error_page_of_a_refused_request(tmp_path: Path, pairs: Pairs, status: int) -> None:
    with run_proxy(REFUSED.format(port=free_port()), tmp_path) as proxy, FrameClient(proxy.port) as client:
        found, body = client.get(1, pairs)
        assert (found, body) == (status, b"the page")
        assert ("b", "GET /page") in client.fields[1][-1]
