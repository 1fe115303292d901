"""Uploads of every kind, early answers, and upstreams that do not read; real sockets.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.recorder import Recorded, Recorder, reply
from tests.support.recorder import Wire as Peer
from tests.support.wire import KINDS, Blocks, fetch, opened, route, run_on_the_loop, send, upload_of, wait_for
from wsgi_proxy import build
from wsgi_proxy.config import GatewaySettings
from wsgi_proxy.errors import ClientError, UpstreamError, UpstreamTimeout
from wsgi_proxy.gateway import gateway_of
from wsgi_proxy.gateway.records import END_OF_STDIN, stdin
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.transport.request_body import Sending
from wsgi_proxy.transport.session import Transport

if TYPE_CHECKING:
    from wsgi_proxy.net import Stream


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


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
        release.wait(30)

    with Recorder(script, read_body=False) as upstream:
        upload = upload_of(kind, b"x" * 20_000_000, tmp_path)
        response = send(transport, route(upstream, send_timeout=5.0), "POST", upload)
        assert response.status == 413 and b"".join(response.body) == b"too large"
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
    with Recorder(lambda request, wire: release.wait(30) and None, read_body=False) as upstream:
        upload = upload_of(kind, b"x" * 20_000_000, tmp_path)
        with pytest.raises(UpstreamTimeout, match="while sending request") as caught:
            send(transport, route(upstream, send_timeout=0.2, read_timeout=5.0), "PUT", upload)
        assert caught.value.sent
        release.set()
        upload.close()


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)


PURE = pytest.mark.skipif(build.compiled(), reason="a stand-in for a stream does not pass the compiled code's checks")


class Sent:
    """A stream that keeps each block that is sent."""

    plain = False

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.blocks.append(bytes(data))

    def readable(self) -> bool:
        return False

    def fileno(self) -> int:
        return -1


class Told(Blocks):
    """A body that tells its end, as those of ProxyWorker do; `fault` is found after the last block."""

    fault: ClientError | None = None

    @property
    def exhausted(self) -> bool:
        return not self.blocks

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault


@PURE
@pytest.mark.parametrize("length", [6, None])
@pytest.mark.parametrize("told", [True, False])
def test_the_end_leaves_with_the_last_block(length: int | None, told: bool) -> None:
    """One call and one packet less; without knowledge of the end the end follows alone."""
    for gateway in (None, gateway_of(GatewaySettings("fastcgi"))):
        stream = Sent()
        source = Told(b"abc", b"def") if told else Blocks(b"abc", b"def")
        sending = Sending(cast("Stream", stream), b"head", Upload(length, source=source), gateway)
        assert sending.run()
        blocks = {
            (None, 6): [b"abc", b"def"],
            (None, None): [b"3\r\nabc\r\n", b"3\r\ndef\r\n", b"0\r\n\r\n"],
        }.get((gateway, length)) or [stdin(b"abc"), stdin(b"def"), END_OF_STDIN]
        if told and len(blocks) == 3:
            blocks[1:] = [blocks[1] + blocks[2]]
        assert stream.blocks == [b"head", *blocks]


class Early(Told):
    """A body whose next block has arrived."""

    @property
    def arrived(self) -> bool:
        return bool(self.blocks)


@PURE
@pytest.mark.parametrize("length", [6, None])
def test_bytes_that_have_arrived_leave_with_the_head(length: int | None) -> None:
    """One call and one packet less, and the upstream reads them together, as nginx sends them."""
    for gateway in (None, gateway_of(GatewaySettings("fastcgi"))):
        stream = Sent()
        sending = Sending(cast("Stream", stream), b"head", Upload(length, source=Early(b"abc", b"def")), gateway)
        assert sending.run()
        blocks = {
            (None, 6): [b"abc", b"def"],
            (None, None): [b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"],
        }.get((gateway, length)) or [stdin(b"abc"), stdin(b"def") + END_OF_STDIN]
        assert stream.blocks == [b"head" + blocks[0], *blocks[1:]]


@PURE
@pytest.mark.parametrize("length", [6, None])
def test_a_connection_that_takes_nothing_leaves_the_body_for_another(length: int | None) -> None:
    class Stale(Sent):
        def sendall(self, data: bytes) -> None:
            raise BrokenPipeError

    upload = Upload(length, source=Early(b"abc", b"def"), room=4)
    with pytest.raises(BrokenPipeError):
        Sending(cast("Stream", Stale()), b"head", upload).run()
    assert upload.rewind()
    stream = Sent()
    assert Sending(cast("Stream", stream), b"head", upload).run()
    assert b"".join(stream.blocks) == (b"headabcdef" if length else b"head3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    assert not upload.rewind() and upload.ended


@PURE
def test_records_do_not_end_for_a_body_that_is_too_long() -> None:
    stream = Sent()
    source = Told(b"abcdef", b"more")
    source.fault = ClientError("too long")
    sending = Sending(cast("Stream", stream), b"head", Upload(6, source=source), gateway_of(GatewaySettings("fastcgi")))
    with pytest.raises(ClientError):
        sending.run()
    assert stream.blocks == [b"head", stdin(b"abcdef")]
