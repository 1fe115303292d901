"""sockets: the state of the peer, and a reset that a later shutdown cannot soften; real sockets."""

from __future__ import annotations

import select
import socket
import struct

import pytest

from tests.support.ports import wait_until
from wsgi_proxy.net.sockets import acknowledged, has_ended, is_torn, milliseconds, receive_exactly, reset


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_half_an_end_is_not_an_end(kind: str) -> None:
    ours, theirs = tcp_pair() if kind == "tcp" else socket.socketpair()
    with ours, theirs:
        assert not is_torn(ours.fileno()) and not has_ended(ours.fileno())
        theirs.send(b"x")
        assert ours.recv(1, socket.MSG_PEEK) == b"x" and not has_ended(ours.fileno())
        theirs.shutdown(socket.SHUT_WR)
        wait_until(lambda: has_ended(ours.fileno()))
        assert ours.recv(1) == b"x" and ours.recv(1, socket.MSG_PEEK) == b""
        assert not is_torn(ours.fileno())
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        wait_until(lambda: is_torn(ours.fileno()))
    assert is_torn(ours.fileno())


def test_receive_exactly_takes_no_more_and_no_less() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"abcde")
            assert (receive_exactly(ours, 3), receive_exactly(ours, 0), receive_exactly(ours, 1)) == (b"abc", b"", b"d")
        with pytest.raises(EOFError, match="2 bytes early"):
            receive_exactly(ours, 3)


def test_what_a_peer_has_taken() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs:
        before = acknowledged(ours.fileno())
        assert before is not None
        ours.sendall(b"x" * 1000)
        wait_until(lambda: acknowledged(ours.fileno()) == before + 1000)
        theirs.shutdown(socket.SHUT_WR)
        ours.sendall(b"y")
        wait_until(lambda: acknowledged(ours.fileno()) == before + 1001)
    assert acknowledged(-1) is None
    one, other = socket.socketpair()
    with one, other:
        assert acknowledged(one.fileno()) is None


def test_a_reset_that_is_followed_by_a_polite_end() -> None:
    """gunicorn's gthread shuts its half down and reads the client's to the end before it closes."""
    ours, theirs = tcp_pair()
    with ours, theirs:
        ours.sendall(b"half an answ")
        reset(ours)
        ours.shutdown(socket.SHUT_WR)
        ours.settimeout(1)
        assert ours.recv(10) == b""
        theirs.settimeout(30)
        with pytest.raises(ConnectionResetError):
            while theirs.recv(100):
                continue
    assert ours.fileno() == -1


def test_no_time_is_too_long_for_poll() -> None:
    for seconds in (None, 0.0, 1.5, 10 * 365 * 86400.0, float("inf")):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(b"x")
            poll = select.poll()
            poll.register(theirs.fileno(), select.POLLIN)
            assert poll.poll(milliseconds(seconds))
