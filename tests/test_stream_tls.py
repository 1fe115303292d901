"""stream_tls: TLS over streams of both modes, before real peers."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import trustme

from tests.test_stream import Runner, in_greenlet, in_thread
from wsgi_proxy.green import GreenStream
from wsgi_proxy.stream import PlainStream, Stream
from wsgi_proxy.stream_tls import TLSStream


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
    theirs.settimeout(10)
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
    data = b""
    while len(data) < count:
        block = source.recv(65536)
        assert block
        data += block
    return data


def test_tls_session_tickets_are_not_data(tls_pair: Any, start: Runner) -> None:
    stream, peer = tls_pair
    # The server's tickets of TLS 1.3 are on their way or here; neither is anything to read.
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
    theirs.settimeout(10)
    peer = in_thread(lambda: contexts[0].wrap_socket(theirs, server_side=True))
    stream = kind(ours)
    with pytest.raises(ssl.SSLCertVerificationError):
        start(lambda: stream.start_tls(contexts[1], "other.example"))()
    # The peer learns why by the alert.
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
