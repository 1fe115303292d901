"""gevent_stream: ownership of the socket and the loop's watchers; test_stream has the contract shared with threads."""

from __future__ import annotations

import functools
import gc
import socket

import pytest

from tests.net.test_stream import in_greenlet
from wsgi_proxy.net.gevent_stream import GreenStream


def green_pair() -> tuple[GreenStream, socket.socket]:
    ours, theirs = socket.socketpair()
    return GreenStream(ours), theirs


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_forgotten_stream_frees_its_watcher() -> None:
    stream, peer = green_pair()
    waiting = in_greenlet(functools.partial(stream.recv, 1))
    peer.sendall(b"x")
    waiting()
    side = stream.reading
    del waiting
    del stream
    gc.collect()
    assert side.watcher is None
    peer.close()


def test_a_socket_object_is_taken_over_by_its_descriptor() -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    stream = GreenStream(ours)
    assert ours.fileno() == -1 and stream.fileno() == number
    stream.close()
    theirs.close()
