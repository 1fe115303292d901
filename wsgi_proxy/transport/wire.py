"""A connection to an upstream, and one request with its response on it.

Rules:
- The request head is sent unchanged. The response is the field pairs and the bytes of the body, undecoded.
- 1xx responses are skipped (RFC 9110, section 15.2) except 101, which ends HTTP on the connection. The function `hints` gets the
  fields of each 103 (Early Hints).
- A connection is reused only if the request was sent completely, the end of the response is certain, and no bytes follow it.
- A response that arrives before the request is sent completely is delivered. A successful one may depend on the rest of the
  request, which is then sent concurrently where possible (request_body.py). After any other response, the rest is not sent.
- A client that leaves ends its exchange with ClientGone.
- A route with a `gateway` has the framing of that protocol in place of HTTP's.
"""

from __future__ import annotations

import fcntl
import socket
import termios
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import InvalidResponse, UpstreamClosed, UpstreamError, UpstreamTimeout
from ..gateway import Gateway, Records, end_of_head, parse_gateway_head
from ..http import ResponseHead, check_partial_response, end_of_response_head, take_response_head
from ..net import Stream, reset_on_close
from .client_watch import Watched
from .connect import CLOSED, TIMED_OUT, describe
from .request_body import Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http import Pairs
    from .reply import Source
    from .route import Idle, Route

BLOCK: Final = 64 * 1024
_SEND_TIMEOUT: Final = f"{TIMED_OUT} while sending request to upstream"
_TOO_BIG: Final = "upstream sent too big header while reading response header from upstream"
MAX_INTERIM: Final = 100
"""The largest number of 1xx responses to one request."""


class Client(Protocol):
    """The client's connection. `gone` is True once the client has left; `on_gone` sets the function to call then."""

    gone: bool

    def on_gone(self, alarm: Callable[[], None]) -> None: ...


class Wire:
    """A connection to an upstream. `opened` and `idle_since` are in monotonic seconds; `uses` counts requests."""

    __slots__ = (
        "_route",
        "_waits",
        "abandoned",
        "buffer",
        "client",
        "decoder",
        "heard",
        "hints",
        "idle",
        "idle_since",
        "log",
        "opened",
        "pooled",
        "received",
        "sending",
        "sent",
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
        self.sent = self.received = 0
        """Bytes of the present request that were sent, and bytes that came up to the end of its response's head or later."""
        self.heard = False
        """True once a byte of the response to the present request has arrived."""
        self.hints: Callable[[Pairs], None] | None = None
        self.log: Callable[[str, str], None] | None = None
        """The function for lines from a FastCGI server's STDERR."""
        self.decoder: Records | None = None
        """The decoder of the present response, if a gateway's protocol has records."""
        self.client: Client | None = None
        """The client of the present exchange, if its event loop reports that it leaves."""
        self.watched: Watched | None = None
        """The client of the present exchange under servers without such an event loop."""
        self.abandoned = False
        self.sending: Sending | None = None
        """The unsent rest of a request whose response arrived early."""
        self._route: Route | None = None
        # On an event loop, waiting first is cheaper than a recv that fails.
        side = getattr(stream, "reading", None)
        self._waits = side is not None
        if side is not None:
            side.idle = self._stirred

    def _stirred(self) -> None:
        """Handle an event of the event loop while no greenlet waits: close an idle connection that has ended or sent bytes."""
        if not self.pooled:
            self.stream.reading.stop()  # type: ignore[attr-defined]
        elif self.stream.readable():
            # Otherwise the event is about bytes that a greenlet has read since, and the connection is sound.
            self.idle.drop(self)

    def close(self) -> None:
        """Close the connection, and stop the rest of its request."""
        self.client = self.watched = None
        sending, self.sending = self.sending, None
        if sending is not None:
            sending.stop()
            self.sent = sending.sent
        self.stream.close()

    def attend(self, client: Client | Watched) -> None:
        """End the present exchange when this client leaves."""
        if isinstance(client, Watched):
            self.watched = client
        else:
            self.client = client
            client.on_gone(partial(self.abandon, client))

    def abandon(self, client: Client) -> None:
        """End the exchange of a client that left, if it is still on this connection. Never waits."""
        if self.client is client:
            self.abandoned = True
            number = self.stream.fileno()
            if number >= 0 and fcntl.ioctl(number, termios.TIOCOUTQ, b"\0\0\0\0") != b"\0\0\0\0":
                # A FIN would wait behind the bytes that the upstream does not read. A reset does not.
                reset_on_close(number)
            # The shutdown wakes the waiting thread or greenlet, which closes the connection.
            self.stream.shutdown(socket.SHUT_RDWR)

    def converse(self, method: str, head: bytes, upload: Source | None, route: Route) -> tuple[ResponseHead, bool]:
        """Send a request and read the head of the final response. The bytes that follow the head are in `buffer`.

        The second value is True if the request was sent completely. Raises UpstreamError, and any exception of reading `upload`.
        """
        stream = self.stream
        if self._route is not route or stream.read_timeout != route.read_timeout:
            self._route = route
            stream.read_timeout = route.read_timeout
            stream.write_timeout = route.send_timeout
        self.uses += 1
        self.sent = self.received = 0
        self.heard = False
        gateway = route.gateway
        if gateway is not None:
            self.decoder = gateway.decoder(self.log)
            if upload is None:
                head += gateway.end()
        if upload is None:
            try:
                stream.sendall(head)
                self.sent = len(head)
            except TimeoutError:
                raise UpstreamTimeout(_SEND_TIMEOUT, error_type="connection_write_timeout") from None
            except OSError as error:
                # The kernel accepts a small head completely or not at all.
                raise UpstreamClosed(
                    f"{describe('send()', error)} while sending request to upstream", sent=len(head) > BLOCK
                ) from error
            found = self._read_head(method, True)
            assert found is not None
            stream.read_timeout = route.stream_timeout
            return found, True
        found, complete = self._converse_with_body(method, Sending(stream, head, upload, gateway), route)
        stream.read_timeout = route.stream_timeout
        return found, complete

    def _converse_with_body(self, method: str, sending: Sending, route: Route) -> tuple[ResponseHead, bool]:
        """Send head and body, and read a response that arrives early."""
        while True:
            try:
                try:
                    complete = sending.run()
                finally:
                    self.sent = sending.sent
            except TimeoutError:
                raise UpstreamTimeout(_SEND_TIMEOUT, sent=sending.begun, error_type="connection_write_timeout") from None
            except OSError as error:
                # Many upstreams send a response before they close.
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
        """Return the head of a response that arrived before sending failed; None if there is none."""
        try:
            return self._read_head(method, True) if self.stream.readable() else None
        except UpstreamError:
            return None

    def _read_head(self, method: str, complete: bool) -> ResponseHead | None:
        """Return the head of the final response. If the request is not `complete`, return None after 1xx responses alone."""
        if self._route is not None and self._route.gateway is not None:
            return self._read_gateway_head(self._route.gateway, method, complete)
        data, self.buffer = self.buffer, b""
        interim = 0
        while True:
            if not data:
                if not complete and interim and not self.stream.readable():
                    return None
                data = self._recv()
            head, rest = take_response_head(data, method)
            if head is None:
                head, rest = take_response_head(self._rest_of_head(data), method)
                assert head is not None
            data = rest
            if head.status >= 200 or head.status == 101:
                self.buffer = data
                return head
            interim += 1
            if interim > MAX_INTERIM:
                raise InvalidResponse("upstream sent too many 1xx responses")
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
        self.received += len(data)
        return data

    def _read_gateway_head(self, gateway: Gateway, method: str, complete: bool) -> ResponseHead | None:
        """Return the head of a CGI response. If the request is not `complete`, return None once nothing more can be read."""
        limit = self._route.head_limit if self._route is not None else BLOCK
        decoder = self.decoder
        while True:
            data = self.buffer
            end = end_of_head(data)
            if end:
                head = parse_gateway_head(data[:end], method, gateway.status_line)
                self.buffer = data[end:]
                if decoder is not None:
                    decoder.begin(self.buffer, 0 if head.no_body else head.content_length)
                    self.buffer = b""
                    head.keep_alive = True
                return head
            if len(data) > limit:
                raise InvalidResponse(_TOO_BIG, error_type="http_response_header_section_size")
            if decoder is not None and decoder.done:
                raise InvalidResponse("upstream prematurely closed FastCGI stdout while reading response header from upstream")
            if not complete and not self.stream.readable():
                return None
            data = self._recv()
            self.buffer += data if decoder is None else b"".join(decoder.feed(data))

    def _rest_of_head(self, data: bytes) -> bytes:
        """Return `data` and the following bytes up to the end of the head or later."""
        limit = self._route.head_limit if self._route is not None else BLOCK
        parts = bytearray(data)
        while True:
            check_partial_response(bytes(parts))
            if len(parts) > limit:
                raise InvalidResponse(_TOO_BIG, error_type="http_response_header_section_size")
            seen = max(0, len(parts) - 3)
            parts += self._recv()
            data = bytes(parts)
            if end_of_response_head(data, seen) >= 0:
                return data
