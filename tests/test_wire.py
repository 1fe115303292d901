"""The wire before upstreams of every kind: bytes sent, bytes got, and which connections live on; real sockets.

The whole file runs a second time on gevent's loop, where streams work differently (`test_all_of_it_on_the_loop`).
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.recorder import Recorded, Recorder, chunked, reply
from tests.support.recorder import Wire as Peer
from wsgi_proxy.config import ProxySettings, Upstream, UpstreamTLS
from wsgi_proxy.errors import (
    ClientError,
    ConnectFailed,
    InvalidAnswer,
    TruncatedAnswer,
    UpstreamClosed,
    UpstreamError,
    UpstreamTimeout,
)
from wsgi_proxy.stream import PlainStream, Stream
from wsgi_proxy.transport import Outgoing, Reply, Route, Transport
from wsgi_proxy.upload import Upload

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


def route(upstream: Recorder, **options: Any) -> Route:
    limits = {name: options.pop(name) for name in list(options) if name.startswith("keepalive")}
    settings = {name: options.pop(name) for name in list(options) if name.endswith(("timeout", "version", "size"))}
    return Route(
        upstream.path or (upstream.host, upstream.port),
        settings=ProxySettings(**settings),
        limits=Upstream("u", (), **limits) if limits else None,
        **options,
    )


def send(transport: Transport, where: Route, method: str = "GET", upload: Upload | None = None, fields: str = "") -> Reply:
    framing = ""
    if upload is not None:
        framing = f"Content-Length: {upload.length}\r\n" if upload.length is not None else "Transfer-Encoding: chunked\r\n"
    return transport.send(Outgoing(method, f"{method} /x HTTP/1.1\r\nHost: a\r\n{framing}{fields}\r\n".encode(), upload), where)


def fetch(transport: Transport, where: Route, method: str = "GET", upload: Upload | None = None) -> bytes:
    return b"".join(send(transport, where, method, upload).body)


def once(*answers: bytes) -> Callable[[Recorded, Peer], bytes]:
    """A script that gives one answer after the other, over all connections."""
    left = list(answers)
    return lambda request, wire: left.pop(0)


def raw(data: bytes, close: bool = True) -> Callable[[Recorded, Peer], None]:
    def script(request: Recorded, wire: Peer) -> None:
        wire.send(data)
        if close:
            wire.close()

    return script


# --- bodies and what becomes of the connection -----------------------------------------------------

BODIES: dict[str, tuple[bytes, bytes, bool]] = {
    "by length": (reply(b"hello"), b"hello", True),
    "empty": (reply(b""), b"", True),
    "chunked": (reply(chunked(b"he", b"llo"), headers=[("Transfer-Encoding", "chunked")], length=None), b"hello", True),
    "204": (reply(b"", 204, length=None), b"", True),
    "304 with a length": (reply(b"", 304, length=5), b"", True),
    "close announced": (reply(b"hello", headers=[("Connection", "close")]), b"hello", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "HTTP/1.0 keep-alive": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\nhello", b"hello", True),
    "bytes after the end": (reply(b"hello") + b"x", b"hello", False),
    "bytes after the last chunk": (
        reply(chunked(b"hello") + b"x", headers=[("Transfer-Encoding", "chunked")], length=None),
        b"hello",
        False,
    ),
    "a body after 204": (reply(b"hello", 204, length=None), b"", False),
    "103 before it": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"hello"), b"hello", True),
    "100 and 102 before it": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\r\n\r\n" + reply(b"hello"), b"hello", True),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("drip", [False, True])
def test_bodies(transport: Transport, name: str, drip: bool) -> None:
    data, body, reused = BODIES[name]

    def script(request: Recorded, wire: Peer) -> None:
        if request.number == 1 and request.connection == 1:
            if drip:
                wire.drip(data, pause=0.0005)
            else:
                wire.send(data)
        else:
            wire.send(reply(b"second"))

    with Recorder(script) as upstream:
        where = route(upstream)
        assert fetch(transport, where) == body
        assert fetch(transport, where) == b"second"
        assert upstream.connections == (1 if reused else 2)


def test_a_head_request_has_no_body_and_keeps_its_length(transport: Transport) -> None:
    with Recorder(lambda request, wire: reply(b"", length=1000)) as upstream:
        where = route(upstream)
        answer = send(transport, where, "HEAD")
        assert answer.content_length == 1000 and b"".join(answer.body) == b""
        send(transport, where, "HEAD")
        assert upstream.connections == 1


def test_a_body_ended_by_the_connection(transport: Transport) -> None:
    with Recorder(raw(b"HTTP/1.1 200 OK\r\n\r\nhello")) as upstream:
        answer = send(transport, route(upstream))
        assert answer.content_length is None and b"".join(answer.body) == b"hello"


def test_trailers(transport: Transport) -> None:
    body = chunked(b"hello", trailers=[("X-Sum", "5"), ("Content-Length", "9")])
    with Recorder(lambda request, wire: reply(body, headers=[("Transfer-Encoding", "chunked")], length=None)) as upstream:
        answer = send(transport, route(upstream))
        assert b"".join(answer.body) == b"hello" and answer.trailers == [("X-Sum", "5")]


def test_blocks_come_as_they_are_sent(transport: Transport) -> None:
    step = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"", headers=[("Transfer-Encoding", "chunked")], length=None) + b"5\r\nfirst\r\n")
        step.wait(10)
        wire.send(b"6\r\nsecond\r\n0\r\n\r\n")

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"first"
        step.set()
        assert body.read_block() == b"second" and body.read_block() == b""


def test_closing_an_unread_body_closes_the_connection(transport: Transport) -> None:
    release = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"he", length=1000))
        release.wait(10)

    with Recorder(script) as upstream:
        answer = send(transport, route(upstream))
        answer.close()
        answer.close()
        with pytest.raises(TruncatedAnswer):
            answer.body.read_block()
        assert len(transport.adapter.idles) == 0
        release.set()


# --- connections kept ------------------------------------------------------------------------------


def test_ten_requests_use_one_connection(transport: Transport) -> None:
    with Recorder() as upstream:
        where = route(upstream)
        for _ in range(10):
            fetch(transport, where)
        assert upstream.connections == 1 and len(transport.adapter.idles) == 1


@pytest.mark.parametrize(
    ("limits", "connections"),
    [({"keepalive": 0}, 4), ({"keepalive_requests": 2}, 2), ({"keepalive_timeout": 0.0}, 4), ({"keepalive_time": 0.0}, 4)],
)
def test_limits_of_kept_connections(transport: Transport, limits: dict[str, Any], connections: int) -> None:
    with Recorder() as upstream:
        where = route(upstream, **limits)
        for _ in range(4):
            fetch(transport, where)
            time.sleep(0.002)
        assert upstream.connections == connections


def test_idle_connections_are_swept(transport: Transport) -> None:
    with Recorder() as upstream:
        fetch(transport, route(upstream, keepalive_timeout=0.01))
        assert len(transport.adapter.idles) == 1
        time.sleep(0.02)
        transport.sweep()
        assert len(transport.adapter.idles) == 0
        wait_for(lambda: upstream.open_connections == 0)


@pytest.mark.parametrize("fields", ["Connection: close\r\n", ""])
def test_close_that_we_said_ourselves_is_kept_to(transport: Transport, fields: str) -> None:
    with Recorder(lambda request, wire: wire.send(reply(b"ok"))) as upstream:
        b"".join(send(transport, route(upstream), fields=fields).body)
        assert len(transport.adapter.idles) == (0 if fields else 1)
        if not fields:
            b"".join(send(transport, route(upstream, http_version="1.0")).body)
            assert len(transport.adapter.idles) == 0


def test_what_an_upstream_says_unasked_is_not_the_next_answer(transport: Transport) -> None:
    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"mine"))
        if request.connection == 1:
            time.sleep(0.02)
            wire.send(reply(b"poison"))

    with Recorder(script) as upstream:
        where = route(upstream)
        assert fetch(transport, where) == b"mine"
        time.sleep(0.06)
        assert fetch(transport, where) == b"mine"
        assert upstream.connections == 2


def test_a_kept_connection_that_the_upstream_closed_is_not_used(transport: Transport) -> None:
    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"ok"))
        wire.close()

    with Recorder(script) as upstream:
        where = route(upstream)
        assert fetch(transport, where) == b"ok"
        wait_for(lambda: upstream.open_connections == 0)
        assert fetch(transport, where, "POST", Upload(2, data=b"hi")) == b"ok"
        assert upstream.connections == 2


def closes_on_the_second(request: Recorded, wire: Peer) -> bytes | None:
    """Takes a second request on a connection, and closes without an answer."""
    if request.number == 1:
        return reply(b"ok")
    wire.close()
    return None


def test_a_stale_connection_costs_an_idempotent_request_nothing(transport: Transport) -> None:
    with Recorder(closes_on_the_second) as upstream:
        where = route(upstream)
        fetch(transport, where)
        assert fetch(transport, where) == b"ok"
        assert fetch(transport, where, "PUT", Upload(2, data=b"hi")) == b"ok"
        assert upstream.requests[-1].body == b"hi" and upstream.connections == 3


def test_a_post_on_a_stale_connection_is_not_repeated(transport: Transport) -> None:
    with Recorder(closes_on_the_second) as upstream:
        where = route(upstream)
        fetch(transport, where)
        with pytest.raises(UpstreamClosed) as caught:
            fetch(transport, where, "POST", Upload(2, data=b"hi"))
        assert caught.value.sent and not caught.value.fresh and len(upstream.requests) == 2


def test_a_body_that_cannot_be_read_again_is_not_repeated(transport: Transport) -> None:
    with Recorder(closes_on_the_second) as upstream:
        where = route(upstream)
        fetch(transport, where)
        with pytest.raises(UpstreamClosed):
            fetch(transport, where, "PUT", Upload(2, source=Blocks(b"hi")))


def test_a_kept_connection_that_breaks_in_mid_head_is_not_repeated(transport: Transport) -> None:
    def script(request: Recorded, wire: Peer) -> bytes | None:
        if request.number == 1:
            return reply(b"ok")
        raw(b"HTTP/1.1 200 OK\r\n")(request, wire)
        return None

    with Recorder(script) as upstream:
        where = route(upstream)
        fetch(transport, where)
        with pytest.raises(UpstreamClosed):
            fetch(transport, where)
        assert upstream.connections == 1


# --- upstreams that fail ---------------------------------------------------------------------------

FAILURES: dict[str, tuple[Callable[[Recorded, Peer], Any], type[UpstreamError], str]] = {
    "closes": (lambda request, wire: wire.close(), UpstreamClosed, "upstream prematurely closed connection while reading"),
    "resets": (lambda request, wire: wire.reset(), UpstreamClosed, r"recv\(\) failed \(104: Connection reset by peer\)"),
    "ends in the head": (raw(b"HTTP/1.1 200 OK\r\nX: y\r\n"), UpstreamClosed, "prematurely closed"),
    "ends in the status": (raw(b"HTT"), UpstreamClosed, "prematurely closed"),
    "garbage": (raw(b"hello", close=False), InvalidAnswer, "no HTTP/1 status line"),
    "TLS alert": (raw(b"\x15\x03\x01\x00\x02\x02\x46", close=False), InvalidAnswer, "no HTTP/1 status line"),
    "bare LFs": (raw(b"HTTP/1.1 200 OK\nX: y\n\n", close=False), InvalidAnswer, "bare LF"),
    "endless head": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000), InvalidAnswer, "too big header"),
    "endless line": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000), InvalidAnswer, "too big header"),
    "endless 1xx": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), InvalidAnswer, "too many 1xx"),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), InvalidAnswer, "twice"),
    "bad first chunk": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        InvalidAnswer,
        "chunk size",
    ),
    "silent": (lambda request, wire: wire.recv(1) and None, UpstreamTimeout, r"upstream timed out \(110: Connection timed out\)"),
    "silent after 100": (
        lambda request, wire: wire.send(b"HTTP/1.1 100 Continue\r\n\r\n") or wire.recv(1) and None,
        UpstreamTimeout,
        "while reading response header",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_before_the_head(transport: Transport, name: str) -> None:
    script, kind, message = FAILURES[name]
    with Recorder(script) as upstream:
        with pytest.raises(kind, match=message) as caught:
            send(transport, route(upstream, read_timeout=0.1))
        assert caught.value.sent and caught.value.fresh
        assert len(transport.adapter.idles) == 0


TRUNCATED: dict[str, tuple[Callable[[Recorded, Peer], Any], str]] = {
    "length, closed": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), "prematurely closed"),
    "length, silent": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", close=False), "timed out"),
    "chunks, closed": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), "prematurely closed"),
    "chunks, no end": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"), "prematurely closed"),
    "chunks, silent": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", close=False), "timed out"),
    "close-delimited, silent": (raw(b"HTTP/1.1 200 OK\r\n\r\nhello", close=False), "timed out"),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_body_that_does_not_come_to_its_end(transport: Transport, name: str) -> None:
    script, message = TRUNCATED[name]
    with Recorder(script) as upstream:
        body = send(transport, route(upstream, read_timeout=0.1)).body
        got = [body.read_block()]
        with pytest.raises(TruncatedAnswer, match=message):
            while True:
                got.append(body.read_block())
        assert b"".join(got) == b"hello" and len(transport.adapter.idles) == 0


def test_a_reset_in_a_close_delimited_body_is_no_end(transport: Transport) -> None:
    seen = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        seen.wait(10)
        wire.reset()

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"hello"
        seen.set()
        with pytest.raises(TruncatedAnswer, match="reset"):
            body.read_block()


def test_a_bad_chunk_later_on(transport: Transport) -> None:
    step = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        step.wait(10)
        wire.send(b"+5\r\nhello\r\n0\r\n\r\n")

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"hello"
        step.set()
        with pytest.raises(TruncatedAnswer, match="chunk size"):
            body.read_block()


def test_connecting_that_nobody_answers(transport: Transport) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(address)
        try:
            with pytest.raises(UpstreamTimeout, match="while connecting") as caught:
                transport.send(Outgoing("GET", GET), Route(address, settings=ProxySettings(connect_timeout=0.1)))
            assert not caught.value.sent and caught.value.status == 504
        finally:
            for sock in held:
                sock.close()


def test_unix_sockets(transport: Transport, tmp_path: Path) -> None:
    with Recorder(path=tmp_path / "s") as upstream:
        assert fetch(transport, route(upstream)) == b"ok"
    with pytest.raises(ConnectFailed, match="No such file"):
        transport.send(Outgoing("GET", GET), Route(str(tmp_path / "none")))


# --- uploads ---------------------------------------------------------------------------------------


class Blocks:
    """A client's body: blocks, then the end, or a fault."""

    def __init__(self, *blocks: bytes | BaseException, trailers: list[tuple[str, str]] | None = None) -> None:
        self.blocks = list(blocks)
        self.trailers = trailers or []

    def read(self, size: int) -> bytes:
        if not self.blocks:
            return b""
        block = self.blocks.pop(0)
        if isinstance(block, BaseException):
            raise block
        if len(block) > size:
            self.blocks.insert(0, block[size:])
        return block[:size]


def upload_of(kind: str, data: bytes, folder: Path) -> Upload:
    """A body in one of the ways a request's body comes."""
    if kind == "memory":
        return Upload(len(data), data=data)
    if kind == "file":
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the Upload closes it
        file.write(data)
        file.seek(0)
        return Upload(len(data), file=file)
    half = len(data) // 2
    source = Blocks(*(part for part in (data[:half], data[half:]) if part))
    return Upload(len(data) if kind == "stream" else None, source=source)


KINDS = ["memory", "file", "stream", "chunks"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_uploads(transport: Transport, tmp_path: Path, kind: str, size: int) -> None:
    data = os.urandom(size)
    with Recorder() as upstream:
        where = route(upstream)
        upload = upload_of(kind, data, tmp_path)
        assert fetch(transport, where, "POST", upload) == b"ok"
        assert upstream.requests[0].complete and upstream.requests[0].body == data
        assert fetch(transport, where) == b"ok" and upstream.connections == 1
        upload.close()


def test_trailers_of_an_upload(transport: Transport) -> None:
    with Recorder() as upstream:
        source = Blocks(b"hello", trailers=[("X-Sum", "5"), ("Host", "evil")])
        fetch(transport, route(upstream), "POST", Upload(None, source=source))
        assert upstream.requests[0].body == b"hello" and upstream.requests[0].trailers == [("X-Sum", "5")]


@pytest.mark.parametrize("length", [10, None])
@pytest.mark.parametrize("fault", [ClientError("broken"), ConnectionResetError(104, "x"), TimeoutError("x")])
def test_a_client_that_breaks_off_leaves_the_upload_unfinished(
    transport: Transport, length: int | None, fault: Exception
) -> None:
    with Recorder() as upstream:
        with pytest.raises(ClientError if isinstance(fault, ClientError) else Exception) as caught:
            send(transport, route(upstream), "POST", Upload(length, source=Blocks(b"hello", fault)))
        assert not isinstance(caught.value, UpstreamError)
        wait_for(lambda: bool(upstream.requests) and upstream.open_connections == 0)
        assert not upstream.requests[0].complete and upstream.requests[0].body == b"hello"
        assert b"0\r\n\r\n" not in upstream.requests[0].raw_body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["reads nothing more", "closes", "resets", "says 100 first"])
def test_an_early_answer_is_delivered(transport: Transport, tmp_path: Path, kind: str, how: str) -> None:
    release = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\n" if how == "says 100 first" else b""
        wire.send(interim + reply(b"too large", 413))
        if how == "closes":
            wire.sock.shutdown(socket.SHUT_WR)
        elif how == "resets":
            wire.reset()
        release.wait(10)

    with Recorder(script, read_body=False) as upstream:
        upload = upload_of(kind, b"x" * 20_000_000, tmp_path)
        answer = send(transport, route(upstream, send_timeout=5.0), "POST", upload)
        assert answer.status == 413 and b"".join(answer.body) == b"too large"
        assert len(transport.adapter.idles) == 0
        release.set()
        upload.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_100_in_the_midst_does_not_stop_the_upload(transport: Transport, tmp_path: Path, kind: str) -> None:
    data = os.urandom(10_000_000)

    def script(request: Recorded, wire: Peer) -> bytes:
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)
        return reply(hashlib.sha256(wire.read_body(request)).hexdigest().encode())

    with Recorder(script, read_body=False) as upstream:
        upload = upload_of(kind, data, tmp_path)
        assert fetch(transport, route(upstream), "POST", upload) == hashlib.sha256(data).hexdigest().encode()
        upload.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_upstream_that_does_not_read(transport: Transport, tmp_path: Path, kind: str) -> None:
    release = threading.Event()
    with Recorder(lambda request, wire: release.wait(10) and None, read_body=False) as upstream:
        upload = upload_of(kind, b"x" * 20_000_000, tmp_path)
        with pytest.raises(UpstreamTimeout, match="while sending request") as caught:
            send(transport, route(upstream, send_timeout=0.2, read_timeout=5.0), "PUT", upload)
        assert caught.value.sent
        release.set()
        upload.close()


# --- 101, TLS, and bytes moved by the kernel -------------------------------------------------------


def test_a_101_gives_the_stream_and_what_came_behind(transport: Transport) -> None:
    def script(request: Recorded, wire: Peer) -> None:
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        wire.send(b"echo " + wire.recv())
        wire.close()

    with Recorder(script) as upstream:
        answer = send(transport, route(upstream))
        stream, rest = answer.take_over()
        assert answer.status == 101 and rest == b"first" and answer.head.upgrade == "echo"
        stream.sendall(b"hello")
        assert stream.recv(100) == b"echo hello"
        answer.close()
        assert len(transport.adapter.idles) == 0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_tls(transport: Transport, authority: trustme.CA, tmp_path: Path) -> None:
    roots = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(roots))
    with Recorder(tls=tls_server(authority, "a.example")) as upstream:
        sure = UpstreamTLS(verify=True, trusted_certificate=str(roots), verify_depth=1)
        where = route(upstream, tls=sure, server_name="a.example")
        assert fetch(transport, where) == b"ok" == fetch(transport, where)
        assert upstream.connections == 1
        data = os.urandom(500_000)
        assert fetch(transport, where, "POST", Upload(len(data), data=data)) == b"ok"
        assert upstream.requests[-1].body == data
        upload = upload_of("file", data, tmp_path)
        assert fetch(transport, where, "POST", upload) == b"ok" and upstream.requests[-1].body == data
        upload.close()
        with pytest.raises(ConnectFailed, match="SSL_do_handshake") as caught:
            fetch(transport, route(upstream, tls=sure, server_name="b.example"))
        assert not caught.value.sent
        with pytest.raises(ConnectFailed, match="SSL"):
            fetch(transport, route(upstream, tls=UpstreamTLS(verify=True), server_name="a.example"))
        assert fetch(transport, route(upstream, tls=UpstreamTLS(), server_name="b.example")) == b"ok"


def test_tls_to_a_server_that_has_none(transport: Transport) -> None:
    with Recorder(on_connect=lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as upstream:
        with pytest.raises(ConnectFailed, match="SSL"):
            fetch(transport, route(upstream, tls=UpstreamTLS(), server_name="a", connect_timeout=5.0))


def test_tls_handshake_in_time(transport: Transport) -> None:
    release = threading.Event()
    with Recorder(on_connect=lambda wire: release.wait(10) and None) as upstream:
        with pytest.raises(UpstreamTimeout, match="SSL handshaking"):
            fetch(transport, route(upstream, tls=UpstreamTLS(), server_name="a", connect_timeout=0.1))
        release.set()


class Sink:
    """A client's side: a stream to write to, and all that came out of the other end."""

    def __init__(self, pause: float = 0.0) -> None:
        ours, self._theirs = socket.socketpair()
        self.stream = Stream(ours)
        self.stream.write_timeout = 5.0
        self.digest = hashlib.sha256()
        self.size = 0
        self._pause = pause
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self._theirs.recv(1 << 20):
            self.digest.update(data)
            self.size += len(data)
            if self._pause:
                time.sleep(self._pause)
        self._theirs.close()

    def close(self) -> None:
        self.stream.close()
        self._thread.join(10)


@pytest.mark.parametrize("size", [0, 10, 200_000, 30_000_000])
@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_a_body_moved_to_a_stream(transport: Transport, size: int, pause: float) -> None:
    data = os.urandom(size)
    with Recorder(lambda request, wire: reply(data)) as upstream:
        where = route(upstream)
        sink = Sink(pause)
        answer = send(transport, where)
        assert answer.send_to(sink.stream) == size
        sink.close()
        assert sink.size == size and sink.digest.digest() == hashlib.sha256(data).digest()
        assert answer.bytes_received == size
        again = send(transport, where)
        assert again.reused
        again.close()


@pytest.mark.parametrize("size", [300_000, 30_000_000])
def test_a_client_that_is_too_slow_gets_the_rest_later(transport: Transport, size: int) -> None:
    data = os.urandom(size)
    with Recorder(lambda request, wire: reply(data)) as upstream:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 50_000)
        client = Stream(ours)
        client.read_timeout = client.write_timeout = 5.0
        answer = send(transport, route(upstream))
        sent = answer.send_to(client, 0.05)
        assert 0 < sent < size
        rest = b"".join(answer.body)
        client.close()
        first = b""
        while block := theirs.recv(65536):
            first += block
        theirs.close()
        assert len(first) == sent and first + rest == data


def test_chunks_moved_to_a_stream(transport: Transport) -> None:
    data = os.urandom(1_000_000)
    body = chunked(data[:10], data[10:])
    with Recorder(lambda request, wire: reply(body, headers=[("Transfer-Encoding", "chunked")], length=None)) as upstream:
        sink = Sink()
        assert send(transport, route(upstream)).send_to(sink.stream) == len(data)
        sink.close()
        assert sink.digest.digest() == hashlib.sha256(data).digest()


def test_a_cut_while_it_is_moved(transport: Transport) -> None:
    with Recorder(raw(reply(b"x" * 1_000_000, length=2_000_000))) as upstream:
        sink = Sink()
        with pytest.raises(TruncatedAnswer, match="prematurely closed"):
            send(transport, route(upstream)).send_to(sink.stream)
        sink.close()
        assert sink.size == 1_000_000


def test_a_client_that_leaves_while_it_is_moved(transport: Transport) -> None:
    with Recorder(lambda request, wire: reply(b"x" * 30_000_000)) as upstream:
        ours, theirs = socket.socketpair()
        client = Stream(ours)
        answer = send(transport, route(upstream))
        theirs.close()
        with pytest.raises(OSError) as caught:
            answer.send_to(client)
        assert not isinstance(caught.value, UpstreamError)
        answer.close()
        client.close()
        assert len(transport.adapter.idles) == 0


# --- the loop --------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def on_the_loop() -> bool:
    stream = Stream(socket.socket())
    stream.close()
    return not isinstance(stream, PlainStream)


def test_an_idle_connection_is_closed_when_the_upstream_closes_it(transport: Transport) -> None:
    if not on_the_loop():
        pytest.skip("needs a loop that watches: see test_all_of_it_on_the_loop")
    with Recorder() as upstream:
        fetch(transport, route(upstream))
        assert len(transport.adapter.idles) == 1
        upstream.stop()
        wait_for(lambda: len(transport.adapter.idles) == 0)


@pytest.mark.timeout(120)
def test_all_of_it_on_the_loop() -> None:
    if on_the_loop():
        pytest.skip("this is the loop")
    code = "from gevent import monkey; monkey.patch_all()\nimport sys, pytest\nsys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", "-W", "ignore", __file__],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
