"""The other end of a connection: what the kernel knows of it, without reading or waiting; and how to part from it."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any, Protocol

HALF_CLOSED = 1.0
"""Seconds for which a client that has ended its half need not take anything before it counts as gone."""
_TCP_INFO_ACKED = 120
"""Where struct tcp_info (linux/tcp.h) has tcpi_bytes_acked, 64 bits."""


class Receiver(Protocol):
    """The reading side of a socket or stream."""

    def recv(self, size: int, /) -> bytes: ...


def is_torn(number: int) -> bool:
    """Whether the connection of a descriptor is over both ways: reset, or closed by a peer on this machine's own sockets."""
    if number < 0:
        return True
    return bool(_now(number, 0) & (select.POLLHUP | select.POLLERR))


def has_ended(number: int) -> bool:
    """Whether the peer has ended its half, whatever it sent before that is not read yet; Linux tells."""
    return bool(_now(number, select.POLLRDHUP) & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))


def _now(number: int, events: int) -> int:
    poll = system_poll()()
    poll.register(number, events)
    return sum(found for _, found in poll.poll(0))


def milliseconds(seconds: float | None) -> float | None:
    """A time for `poll`, which takes 24 days at most and raises OverflowError beyond; None (no limit) stays.

    >>> milliseconds(1.5), milliseconds(10 * 365 * 86400)
    (1500.0, 2147483647)
    """
    return None if seconds is None else min(seconds * 1000, 2**31 - 1)


def system_poll() -> Any:
    """select.poll, also where gevent has put its own in its place, which knows of reading and writing only."""
    monkey = sys.modules.get("gevent.monkey")
    return select.poll if monkey is None else monkey.get_original("select", "poll")


def acknowledged(number: int) -> int | None:
    """How many bytes the peer's kernel has taken; None where the system does not tell: not TCP, not Linux, or closed."""
    if number < 0:
        return None
    with socket.socket(fileno=socket.dup(number)) as sock:
        if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return None
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    acked: int = struct.unpack_from("=Q", info, _TCP_INFO_ACKED)[0]
    return acked


def reset_on_close(number: int) -> None:
    """See to it that the connection of a descriptor ends with a reset when it is closed, whatever is still to be sent."""
    with socket.socket(fileno=os.dup(number)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(sock: Any) -> None:
    """Reset the connection of a socket that its owner will go on to use: politely ended, as servers do before they close, what is
    short would look whole. From here on the socket object is at the end of another connection, which is over as well."""
    reset_on_close(sock.fileno())
    ours, other = socket.socketpair()
    with ours:
        other.close()
        # This closes what the descriptor was, at once and for all who hold the object.
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
    """The client's socket, where the server hands it over: ProxyWorker, gunicorn's workers, Werkzeug's development server; else
    None."""
    return environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
