"""Detection of a client that disconnects while its request waits for the upstream, for servers without an event loop for clients.

Rules:
- Under ProxyWorker the event loop reports that a client has left. Under other servers, the thread or greenlet that serves a
  client waits for the upstream and for the end of the client's connection at the same time.
- A client that has closed its sending half may still read. It counts as gone if it acknowledges no data for a second, or if its
  connection is reset.
- Nothing is read from the client's socket, because the server's parser may need the data.
"""

from __future__ import annotations

import select
import time
from math import inf
from typing import Any

from ..errors import ClientGone
from ..net import HALF_CLOSED, Stream, acknowledged, client_socket, has_ended, is_torn, milliseconds, system_poll
from .connect import LEFT


class Watched:
    """A client's socket. `gone` is True once the client has left."""

    __slots__ = ("_sock", "gone")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.gone = False

    def wait(self, stream: Stream) -> None:
        """Wait until `stream` is readable.

        Raise TimeoutError after its read timeout, and ClientGone if the client leaves before.
        """
        if stream.readable():
            return
        end = inf if stream.read_timeout is None else time.monotonic() + stream.read_timeout
        number: int = self._sock.fileno()
        taken: int | None = None
        look_at = inf
        watching = number >= 0
        # gevent's poll does not know POLLRDHUP.
        end_of_half = select.POLLRDHUP if system_poll() is select.poll else select.POLLIN
        while True:
            until = min(end, look_at)
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLIN)
            if watching:
                poll.register(number, end_of_half)
            found = dict(poll.poll(milliseconds(None if until == inf else max(0.0, until - time.monotonic()))))
            if stream.fileno() in found and (stream.plain or stream.readable()):
                # Under TLS, a session ticket or a part of a record makes the socket readable without application data.
                return
            now = time.monotonic()
            if number in found or now >= look_at:
                # One event is enough: neither an end nor pipelined data, which hides the end from gevent, goes away.
                watching, look_at = False, now + HALF_CLOSED
                if has_ended(number):
                    before, taken = taken, acknowledged(number)
                    if is_torn(number) or (before is not None and taken == before):
                        self.gone = True
                        raise ClientGone(LEFT)
            elif now >= end:
                raise TimeoutError("timed out")


def watched(environ: dict[str, Any]) -> Watched | None:
    """Return the client's socket to watch; None if the server does not provide it."""
    if not hasattr(select, "POLLRDHUP"):
        return None
    sock = client_socket(environ)
    return None if sock is None else Watched(sock)
