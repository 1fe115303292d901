"""A client whose connection nobody watches, looked at by whoever waits for its upstream.

Rules:
- Under ProxyWorker the loop tells when a client leaves. Under other servers the thread or greenlet that serves a client is alone
  with its socket: while it waits for the upstream it waits for the client's end as well.
- A client that ends its half may still read: it counts as gone when it has taken nothing for a second, or its connection is torn.
- Nothing is read from the client, and what its server's parser may still want stays where it is.
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
    """A client by its socket. `gone` says that it has left."""

    __slots__ = ("_sock", "gone")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.gone = False

    def wait(self, stream: Stream) -> None:
        """Wait until `stream` can be read. TimeoutError after its read timeout, ClientGone when the client leaves before."""
        if stream.readable():
            return
        end = inf if stream.read_timeout is None else time.monotonic() + stream.read_timeout
        number: int = self._sock.fileno()
        taken: int | None = None
        look_at = inf
        watching = number >= 0
        # gevent's poll cannot be asked for an end alone.
        end_of_half = select.POLLRDHUP if system_poll() is select.poll else select.POLLIN
        while True:
            until = min(end, look_at)
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLIN)
            if watching:
                poll.register(number, end_of_half)
            found = dict(poll.poll(milliseconds(None if until == inf else max(0.0, until - time.monotonic()))))
            if stream.fileno() in found and (stream.plain or stream.readable()):
                # Under TLS a record of the session's own, or a part of one, is nothing to read yet.
                return
            now = time.monotonic()
            if number in found or now >= look_at:
                # Told once is enough: an end stays; and what a client sent ahead, which hides its end from gevent, stays as well.
                watching, look_at = False, now + HALF_CLOSED
                if has_ended(number):
                    before, taken = taken, acknowledged(number)
                    if is_torn(number) or (before is not None and taken == before):
                        self.gone = True
                        raise ClientGone(LEFT)
            elif now >= end:
                raise TimeoutError("timed out")


def watched(environ: dict[str, Any]) -> Watched | None:
    """The client's socket to look at, where the server hands it over and it carries this one request; else None."""
    if "wsgi_proxy.carrier" in environ or not hasattr(select, "POLLRDHUP"):
        return None
    sock = client_socket(environ)
    return None if sock is None else Watched(sock)
