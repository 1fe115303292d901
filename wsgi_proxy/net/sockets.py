"""The state of a connection's peer as the kernel knows it, without reading or waiting; resets; small socket helpers."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any, Protocol

HALF_CLOSED = 1.0
"""Seconds after which a client that has ended its half and acknowledged nothing counts as gone."""
_TCP_INFO_ACKED = 120
"""The offset of tcpi_bytes_acked, 64 bits, in struct tcp_info (linux/tcp.h)."""


class Receiver(Protocol):
    """The reading side of a socket or stream."""

    def recv(self, size: int, /) -> bytes: ...


def is_torn(number: int) -> bool:
    """Return True if the connection of a file descriptor is over in both directions: reset, or a unix socket's peer closed."""
    if number < 0:
        return True
    return bool(_now(number, 0) & (select.POLLHUP | select.POLLERR))


def has_ended(number: int) -> bool:
    """Return True if the peer has ended its half, even if unread bytes precede the end (POLLRDHUP, Linux)."""
    return bool(_now(number, select.POLLRDHUP) & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))


def _now(number: int, events: int) -> int:
    poll = system_poll()()
    poll.register(number, events)
    return sum(found for _, found in poll.poll(0))


def milliseconds(seconds: float | None) -> float | None:
    """Return seconds as a timeout for `poll`, which raises OverflowError beyond 24 days; None is no limit.

    >>> milliseconds(1.5), milliseconds(10 * 365 * 86400)
    (1500.0, 2147483647)
    """
    return None if seconds is None else min(seconds * 1000, 2**31 - 1)


def system_poll() -> Any:
    """Return the original select.poll; the one that gevent patches in supports only POLLIN and POLLOUT."""
    monkey = sys.modules.get("gevent.monkey")
    return select.poll if monkey is None else monkey.get_original("select", "poll")


def acknowledged(number: int) -> int | None:
    """Return the number of bytes that the peer's kernel has acknowledged; None unless on Linux, TCP and open."""
    if number < 0:
        return None
    with socket.socket(fileno=socket.dup(number)) as sock:
        if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return None
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    acked: int = struct.unpack_from("=Q", info, _TCP_INFO_ACKED)[0]
    return acked


def reset_on_close(number: int) -> None:
    """Make closing a file descriptor reset its connection and drop unsent bytes."""
    with socket.socket(fileno=os.dup(number)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(sock: Any) -> None:
    """Reset the connection of a socket that its owner will still shut down and close.

    A shutdown by the owner would make a truncated body look complete. The socket object is therefore given the file descriptor
    of another connection, which is closed.
    """
    reset_on_close(sock.fileno())
    ours, other = socket.socketpair()
    with ours:
        other.close()
        # dup2 closes the old connection at once, for all holders of the object.
        os.dup2(ours.fileno(), sock.fileno(), inheritable=False)


def receive_exactly(source: Receiver, count: int) -> bytes:
    """Return the next `count` bytes of a socket or stream; raise EOFError if the peer ends the connection before."""
    data = b""
    while len(data) < count:
        block = source.recv(count - len(data))
        if not block:
            raise EOFError(f"the peer closed the connection {count - len(data)} bytes early")
        data += block
    return data


def client_socket(environ: Mapping[str, Any]) -> Any:
    """Return the client's socket; None if the server does not provide one.

    ProxyWorker, gunicorn's workers and Werkzeug's development server do.
    """
    return environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
