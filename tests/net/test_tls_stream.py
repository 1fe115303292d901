"""tls_stream: TLS over streams of both classes, with real peers."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import trustme

from tests.net.test_stream import Runner, in_greenlet, in_thread
from tests.support import wait_until
from wsgi_proxy.net import gevent_stream as green
from wsgi_proxy.net.gevent_stream import GreenStream
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.net.tls_stream import TLSStream


@pytest.fixture(params=["thread", "greenlet"])
def kind(request: pytest.FixtureRequest) -> type[Stream]:
    return PlainStream if request.param == "thread" else GreenStream


@pytest.fixture
def start(kind: type[Stream]) -> Runner:
    return in_thread if kind is PlainStream else in_greenlet


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def tls_pair(kind: type[Stream], start: Runner, contexts: Any) -> Iterator[tuple[TLSStream, ssl.SSLSocket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    peer = in_thread(lambda: contexts[0].wrap_socket(theirs, server_side=True))
    stream = start(lambda: kind(ours).start_tls(contexts[1], "localhost"))()
    yield stream, peer()
    stream.close()
    peer().close()


def test_tls_carries_bytes(tls_pair: Any, start: Runner) -> None:
    stream, peer = tls_pair
    assert not stream.plain and stream.tls.version() == "TLSv1.3"
    block = os.urandom(1 << 20)
    sent = start(lambda: stream.sendmsg([b"head", block]))
    read = in_thread(lambda: read_exactly(peer, 4 + len(block)))
    sent()
    assert read() == b"head" + block
    in_thread(lambda: peer.sendall(block))
    assert start(lambda: read_exactly(stream, len(block)))() == block


def read_exactly(source: Any, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        block = source.recv(65536)
        assert block
        data += block
    return bytes(data)


def test_tls_session_tickets_are_not_data(tls_pair: Any, start: Runner) -> None:
    stream, peer = tls_pair
    # The server's TLS 1.3 tickets may have arrived; they are no data.
    gevent.sleep(0.05)
    assert not stream.readable() and not stream.peer_closed()
    assert stream.recv_nowait(10) is None
    peer.sendall(b"data")
    start(stream.wait_readable)()
    assert stream.readable()
    assert start(lambda: stream.recv(2))() == b"da"
    assert stream.recv_nowait(10) == b"ta"


def test_tls_end(tls_pair: Any, start: Runner) -> None:
    stream, peer = tls_pair
    stream.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    peer.close()
    assert start(lambda: stream.recv(1))() == b""
    assert stream.peer_closed()


def test_tls_read_timeout(tls_pair: Any, start: Runner) -> None:
    stream, _ = tls_pair
    stream.read_timeout = 0.05
    with pytest.raises(TimeoutError):
        start(lambda: stream.recv(1))()


def test_tls_certificate_is_checked(kind: type[Stream], start: Runner, contexts: Any) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    peer = in_thread(lambda: contexts[0].wrap_socket(theirs, server_side=True))
    stream = kind(ours)
    with pytest.raises(ssl.SSLCertVerificationError):
        start(lambda: stream.start_tls(contexts[1], "other.example"))()
    # The alert gives the peer the reason.
    with pytest.raises(ssl.SSLError):
        peer()
    stream.close()
    theirs.close()


def test_tls_handshake_with_a_peer_that_leaves(kind: type[Stream], start: Runner, contexts: Any) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    stream = kind(ours)
    with pytest.raises(OSError):
        start(lambda: stream.start_tls(contexts[1], "localhost"))()
    stream.close()


def test_nothing_is_read_beside_the_reader(tls_pair: Any, start: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peek while a reader yields or waits must leave the records in order."""
    stream, peer = tls_pair
    looks = []
    if isinstance(stream.lower, GreenStream):
        # The reader yields before each read, and the loop peeks whenever the socket is readable, as in ProxyWorker.
        monkeypatch.setattr(green, "_TURN", -1.0)

        def look() -> None:
            stream.lower.reading.stop()
            looks.append(stream.peer_closed() or stream.readable())
            gevent.get_hub().loop.run_callback(stream.lower.reading.start)

        stream.lower.reading.idle = look
    # All bytes are in the kernel before the first read, so that each peek could take some.
    block = os.urandom(100_000)
    peer.sendall(block)
    if isinstance(stream.lower, GreenStream):
        stream.lower.reading.start()
    assert start(lambda: read_exactly(stream, len(block)))() == block
    if isinstance(stream.lower, GreenStream):
        assert looks
        stream.lower.reading.idle = None


def test_the_rest_of_what_was_received(tls_pair: Any, start: Runner) -> None:
    """Records that arrive together make the descriptor readable once, so a poller must get all of them."""
    stream, peer = tls_pair
    for block in (b"one", b"two", b"three"):
        peer.sendall(block)
    assert start(lambda: stream.recv(100))() == b"one"
    assert stream.recv_rest() == b"twothree" and stream.recv_rest() == b""
    assert start(lambda: stream.recv_nowait(100))() is None
    peer.sendall(b"four")
    peer.close()
    assert start(lambda: stream.recv(2))() == b"fo"
    assert stream.recv_rest() == b"ur" and start(lambda: stream.recv(9))() == b""
    assert stream.lower.recv_rest() == b""


@pytest.mark.parametrize("wait", ["recv", "wait_readable"])
def test_one_reader_at_a_time(tls_pair: Any, start: Runner, wait: str) -> None:
    stream, peer = tls_pair
    first = start((lambda: stream.recv(10)) if wait == "recv" else stream.wait_readable)
    wait_until(lambda: stream.being_read, "the reader to wait")
    assert not stream.readable() and not stream.peer_closed() and not stream.stirred()
    with pytest.raises(RuntimeError):
        stream.recv(1)
    with pytest.raises(RuntimeError):
        stream.recv_nowait(1)
    with pytest.raises(RuntimeError):
        stream.wait_readable()
    peer.sendall(b"data")
    assert first() == (b"data" if wait == "recv" else None)
    assert not stream.being_read
    # An error ends a read, too.
    stream.read_timeout = 0.01
    if wait == "wait_readable":
        assert stream.recv(10) == b"data"
    with pytest.raises(TimeoutError):
        start(lambda: stream.recv(1))()
    assert not stream.being_read and not stream.readable()


def test_ending_our_half_leaves_what_the_peer_sends(tls_pair: Any, start: Runner) -> None:
    """The close_notify of one half is written without reading the other half."""
    stream, peer = tls_pair
    block = os.urandom(40_000)
    peer.sendall(b"first" + block)
    assert start(lambda: stream.recv(5))() == b"first"
    stream.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    peer.sendall(b"later")
    assert start(lambda: read_exactly(stream, len(block) + 5))() == block + b"later"


def test_the_session_speaks_between_the_records_of_a_writer(tls_pair: Any, start: Runner) -> None:
    """An alert or a key update, which reads produce, waits for the record that is being written."""
    stream, peer = tls_pair
    block = os.urandom(2 << 20)
    sent = start(lambda: stream.sendall(block))
    # The writer waits within a record. Then the kernel has space for a record, before the writer runs again.
    wait_until(lambda: stream.being_written, "the writer to wait")
    first = read_exactly(peer, 1 << 17)
    stream.tls.write(b"the session's own")
    stream.flush_nowait()
    received = in_thread(lambda: read_exactly(peer, len(block) + 17 - len(first)))
    sent()
    assert (first + received()).replace(b"the session's own", b"") == block


def test_the_rest_of_a_session_s_own_record_is_sent_later(tls_pair: Any, start: Runner) -> None:
    """The kernel accepts a part, and the rest is sent before anything else."""
    stream, peer = tls_pair
    block = os.urandom(1 << 20)
    stream.tls.write(block)
    stream.flush_nowait()
    received = in_thread(lambda: read_exactly(peer, len(block) + 3))
    start(lambda: stream.sendall(b"end"))()
    assert received() == block + b"end"


def test_sending_without_waiting(tls_pair: Any, start: Runner) -> None:
    stream, peer = tls_pair
    block = os.urandom(2 << 20)
    sent = 0
    while count := stream.send_nowait(memoryview(block)[sent:]):
        sent += count
    assert 0 < sent < len(block)
    received = in_thread(lambda: read_exactly(peer, len(block)))
    start(lambda: stream.sendall(memoryview(block)[sent:]))()
    assert received() == block
