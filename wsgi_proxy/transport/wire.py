"""The wire to an upstream: one connection, one exchange on it at a time.

Rules:
- The request's head goes out as the bytes we are given; the answer comes back as its pairs and its bytes, undecoded.
- Every 1xx is skipped (RFC 9110, section 15.2) but 101, which ends HTTP on this connection; the fields of a 103 (Early Hints) are
  given to `hints`, where the exchange has such a function.
- A connection is used again only when the request went out whole, the answer's end is certain, and nothing came after it.
- A kept connection that fails before the first byte of an answer, or with one that cannot be read, gets one more try on a
  fresh one, if the request may be repeated (RFC 9112, 9.3.1): it was not sent, or its method is idempotent and its body can be
  read again.
- An answer that comes before the whole request is sent is delivered. A success may be an answer to what came so far, so the rest
  of the request goes on beside it, where that can be (wire_upload.py); after any other the rest is not sent.
- A client that leaves ends its exchange: what waits for the upstream gets ClientGone.
"""

from __future__ import annotations

import fcntl
import socket
import termios
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..errors import ClientGone, InvalidResponse, UpstreamClosed, UpstreamError, UpstreamTimeout
from ..http import ResponseHead, check_partial_response, parse_response_head
from ..net import Stream, reset_on_close
from .client_watch import Watched
from .connect import CLOSED, LEFT, TIMED_OUT, describe, open_stream
from .request_body import Sending, Source
from .response_body import Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http import Pairs
    from .route import Idle, Route

BLOCK = 64 * 1024
MAX_INTERIM = 100
"""1xx answers to one request; more are an attack on our patience."""
NON_IDEMPOTENT = frozenset({"POST", "LOCK", "PATCH"})
"""What nginx does not repeat (proxy_next_upstream); RFC 9110, 9.2.2."""


class Client(Protocol):
    """What the wire wants of the client's connection: to hear that the client has left. `gone` says that it has."""

    gone: bool

    def on_gone(self, alarm: Callable[[], None]) -> None: ...


class Wire:
    """A connection to an upstream. `opened` and `idle_since` are monotonic seconds, `uses` counts requests."""

    __slots__ = (
        "_route",
        "_waits",
        "abandoned",
        "buffer",
        "client",
        "heard",
        "hints",
        "idle",
        "idle_since",
        "opened",
        "pooled",
        "sending",
        "stream",
        "uses",
        "watched",
    )

    def __init__(self, stream: Stream, idle: Idle, now: float) -> None:
        self.stream = stream
        self.idle = idle
        self.opened = self.idle_since = now
        self.uses = 0
        self.pooled = False
        self.buffer = b""
        self.heard = False
        """Whether anything of an answer to the present request has come."""
        self.hints: Callable[[Pairs], None] | None = None
        self.client: Client | None = None
        """Whose exchange it is on, while that can be given up."""
        self.watched: Watched | None = None
        """The client instead, where nobody tells that it has left: looked at while the upstream is waited for."""
        self.abandoned = False
        self.sending: Sending | None = None
        """What is left of a request whose answer came early."""
        self._route: Route | None = None
        # On a loop it is cheaper to wait first than to be told by a failing recv that there is nothing yet.
        side = getattr(stream, "reading", None)
        self._waits = side is not None
        if side is not None:
            side.idle = self._stirred

    def _stirred(self) -> None:
        """Called in the loop when something happens and nobody waits: an idle connection's end is its end here too."""
        if self.pooled:
            self.idle.drop(self)
        else:
            self.stream.reading.stop()  # type: ignore[attr-defined]

    def close(self) -> None:
        self.client = self.watched = None
        sending, self.sending = self.sending, None
        if sending is not None:
            sending.stop()
        self.stream.close()

    def attend(self, client: Client | Watched) -> None:
        """Give up the present exchange when this client leaves."""
        if isinstance(client, Watched):
            self.watched = client
        else:
            self.client = client
            client.on_gone(partial(self.abandon, client))

    def abandon(self, client: Client) -> None:
        """Give up the exchange of a client that left, if it is still on this connection. Does not wait."""
        if self.client is client:
            self.abandoned = True
            number = self.stream.fileno()
            if number >= 0 and fcntl.ioctl(number, termios.TIOCOUTQ, b"\0\0\0\0") != b"\0\0\0\0":
                # An upstream that takes nothing would not hear of a mere end, which waits behind what it does not take.
                reset_on_close(number)
            # Not closed: whoever waits here is woken by the end, and closes.
            self.stream.shutdown(socket.SHUT_RDWR)

    def converse(self, method: str, head: bytes, upload: Source | None, route: Route) -> tuple[ResponseHead, bool]:
        """Send a request and read the final answer's head; what follows the head is in `buffer`.

        The second value says whether the whole request was sent. Raises UpstreamError; what reading `upload` raises passes.
        """
        stream = self.stream
        if self._route is not route or stream.read_timeout != route.read_timeout:
            self._route = route
            stream.read_timeout = route.read_timeout
            stream.write_timeout = route.send_timeout
        self.uses += 1
        self.heard = False
        if upload is None:
            try:
                stream.sendall(head)
            except TimeoutError:
                raise UpstreamTimeout(f"{TIMED_OUT} while sending request to upstream") from None
            except OSError as error:
                # The kernel takes a small head whole or not at all.
                raise UpstreamClosed(
                    f"{describe('send()', error)} while sending request to upstream", sent=len(head) > BLOCK
                ) from error
            found = self._read_head(method, True)
            assert found is not None
            stream.read_timeout = route.stream_timeout
            return found, True
        found, complete = self._converse_with_body(method, Sending(stream, head, upload), route)
        stream.read_timeout = route.stream_timeout
        return found, complete

    def _converse_with_body(self, method: str, sending: Sending, route: Route) -> tuple[ResponseHead, bool]:
        """Send head and body, with an eye on an answer that comes early."""
        while True:
            try:
                complete = sending.run()
            except TimeoutError:
                raise UpstreamTimeout(f"{TIMED_OUT} while sending request to upstream", sent=sending.begun) from None
            except OSError as error:
                # Often an upstream has said why before it closed.
                early = self._last_words(method) if sending.begun else None
                if early is None:
                    message = f"{describe('send()', error)} while sending request to upstream"
                    raise UpstreamClosed(message, sent=sending.begun) from error
                return early, False
            head = self._read_head(method, complete)
            if head is not None:
                if not complete and head.status < 300 and not head.no_body:
                    self.sending = sending
                return head, complete

    def _last_words(self, method: str) -> ResponseHead | None:
        """The answer that waits on a connection which takes no more of the request; None when there is none."""
        try:
            return self._read_head(method, True) if self.stream.readable() else None
        except UpstreamError:
            return None

    def _read_head(self, method: str, complete: bool) -> ResponseHead | None:
        """The final answer's head. When the request is not `complete`: None if nothing but 1xx waits."""
        data, self.buffer = self.buffer, b""
        interim = 0
        while True:
            if not data:
                if not complete and interim and not self.stream.readable():
                    return None
                data = self._recv()
            end = data.find(b"\r\n\r\n")
            if end < 0:
                data = self._rest_of_head(data)
                end = data.find(b"\r\n\r\n")
            end += 4
            if end == len(data):
                head = parse_response_head(data, method)
                data = b""
            else:
                head = parse_response_head(data[:end], method)
                data = data[end:]
            if head.status >= 200 or head.status == 101:
                self.buffer = data
                return head
            interim += 1
            if interim > MAX_INTERIM:
                raise InvalidResponse("upstream sent too many 1xx answers")
            if head.status == 103 and self.hints is not None:
                self.hints(head.pairs)

    def _recv(self) -> bytes:
        try:
            if self.watched is not None:
                self.watched.wait(self.stream)
            elif self._waits:
                self.stream.wait_readable()
            data = self.stream.recv(BLOCK)
        except TimeoutError:
            raise UpstreamTimeout(f"{TIMED_OUT} while reading response header from upstream") from None
        except OSError as error:
            raise UpstreamClosed(f"{describe('recv()', error)} while reading response header from upstream") from error
        if not data:
            raise UpstreamClosed(f"{CLOSED} while reading response header from upstream")
        self.heard = True
        return data

    def _rest_of_head(self, data: bytes) -> bytes:
        """Read on until the head is whole."""
        limit = self._route.head_limit if self._route is not None else BLOCK
        parts = bytearray(data)
        while True:
            check_partial_response(bytes(parts))
            if len(parts) > limit:
                raise InvalidResponse("upstream sent too big header while reading response header from upstream")
            seen = max(0, len(parts) - 3)
            parts += self._recv()
            if parts.find(b"\r\n\r\n", seen) >= 0:
                return bytes(parts)


def exchange(
    method: str,
    head: bytes,
    upload: Source | None,
    route: Route,
    client: Client | Watched | None = None,
    hints: Callable[[Pairs], None] | None = None,
) -> tuple[Wire, ResponseHead, Body, float, bool]:
    """One request and its answer: (wire, head, body, seconds to connect, whether the connection had been kept).

    `route.idle` is set. Raises UpstreamError, with `sent` and `fresh` exact, whatever reading `upload` raises, and ClientGone
    when `client` is given and leaves. `hints` takes the fields of each 103 as it comes; what it raises ends the exchange.
    """
    idle = route.idle
    assert idle is not None
    started = time.monotonic()
    wire = idle.take(started)
    reused = wire is not None
    connect_time = 0.0
    while True:
        if wire is None:
            wire = Wire(open_stream(route), idle, time.monotonic())
            connect_time = wire.opened - started
        try:
            if client is not None:
                if client.gone:
                    raise ClientGone(LEFT)
                wire.attend(client)
            wire.hints = hints
            response, complete = wire.converse(method, head, upload, route)
            wire.hints = None
            keep = complete and response.keep_alive and route.keep and b"\r\nConnection: close\r\n" not in head
            body = Body(wire, response, keep)
            if wire.sending is not None:
                wire.sending.go_on(wire)
            return wire, response, body, connect_time, reused
        except UpstreamError as error:
            wire.close()
            if wire.abandoned:
                raise ClientGone(LEFT) from error
            error.fresh = not reused
            if not reused or not _may_repeat(error, wire, method, upload):
                raise
            wire, reused = None, False
        except BaseException:
            wire.close()
            raise


def _may_repeat(error: UpstreamError, wire: Wire, method: str, upload: Source | None) -> bool:
    """Whether a request that failed on a kept connection may be sent again on a fresh one."""
    if isinstance(error, InvalidResponse):
        # What came may have been the tail of the answer before; our own answer may still be a good one.
        return method not in NON_IDEMPOTENT and (upload is None or upload.rewind())
    if not isinstance(error, UpstreamClosed) or wire.heard:
        return False
    if error.sent and method in NON_IDEMPOTENT:
        return False
    return upload is None or upload.rewind()
