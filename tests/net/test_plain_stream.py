"""plain_stream: sockets with timeouts; test_stream has the contract shared with greenlets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from wsgi_proxy.net.plain_stream import PlainStream


@pytest.fixture
def pair() -> Iterator[tuple[PlainStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    stream = PlainStream(ours)
    yield stream, theirs
    stream.close()
    theirs.close()


def test_send_nowait_takes_what_the_kernel_takes(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    block = bytes(8 << 20)
    sent = stream.send_nowait(block)
    assert 0 < sent < len(block)
    while stream.send_nowait(block):
        continue
    assert stream.flush_nowait()
    peer.settimeout(30)
    assert peer.recv(1 << 20)


def test_the_timeout_of_each_direction_is_its_own(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    stream.read_timeout = 0.05
    with pytest.raises(TimeoutError):
        stream.wait_readable()
    with pytest.raises(TimeoutError):
        stream.recv(1)
    stream.wait_writable()
    stream.sendall(b"x")
    assert peer.recv(1) == b"x"


def test_a_closed_stream_says_so(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, _ = pair
    stream.close()
    with pytest.raises(ConnectionAbortedError, match="the stream is closed"):
        stream.readable()
    assert stream.fileno() == -1
