"""The response as an iterable for the server, and the end of the exchange.

Rules:
- Closing it closes the Response, releases everything that the exchange still holds, and reports the end, once.
- A truncated body never looks complete: the worker cuts the connection, other servers get a ConnectionResetError.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..clocks import wall_time
from ..errors import ClientGone, ProxyError, UpstreamError
from ..http import Pairs, single_line
from ..logs import errorlog
from ..net import client_socket, reset
from ..proxy import Forwarded
from ..response import FileBody, Response
from ..tunnel import Tunnelled, can_tunnel

if TYPE_CHECKING:
    from ..exchange import Exchange


def delivery_of(exchange: Exchange, response: Response, ended: Callable[[Exchange], None]) -> Delivery:
    """Return the iterable that suits a response. A HangUp is not preceded by a head."""
    body = response.body
    if response.hangs_up and (exchange.connection is not None or can_tunnel(exchange.environ)):
        return HangUp(exchange, response, ended)
    if exchange.method == "HEAD" or response.status in (204, 304):
        return EmptyDelivery(exchange, response, ended)
    if isinstance(body, Tunnelled):
        tunnel = Delivery(exchange, response, ended)
        response.body = body.run(exchange, response)  # the client's connection is a tunnel from here to its end
        return tunnel
    if isinstance(body, FileBody) and not exchange.added_trailers:
        return FileDelivery(exchange, response, ended)
    if isinstance(body, Forwarded):
        moves = body.spliceable
    else:
        # Blocks in memory have no such attribute, and looking for it in vain takes long.
        moves = type(body) is not tuple and bool(getattr(body, "spliceable", False))
    if moves and not exchange.added_trailers:
        return SplicedDelivery(exchange, response, ended)
    delivery = Delivery(exchange, response, ended)
    if response.length is None and exchange.connection is not None:
        exchange.connection.trailers = delivery.trailers
    return delivery


class Delivery:
    """The body as the server iterates it; `close` ends the exchange and calls `ended` with it."""

    __slots__ = ("_body", "_ended", "_exchange", "_response")

    def __init__(self, exchange: Exchange, response: Response, ended: Callable[[Exchange], None]) -> None:
        self._exchange = exchange
        self._response: Response | None = response
        self._body = response.body
        self._ended = ended

    def trailers(self) -> Pairs:
        """Return the upstream's trailer fields and those of `add_trailer`; call it after the end of the body."""
        exchange, response = self._exchange, self._response
        trailers: Pairs = [] if response is None else getattr(response.source, "trailers", [])
        exchange.upstream_trailers = trailers
        location = exchange.location_or_none
        passed = location is None or location.proxy.pass_trailers
        exchange.sent_trailers = trailers = list(trailers) if passed else []
        for field in exchange.added_trailers:
            # A value may use $sent_trailer_ of the fields before it.
            value = single_line(field.value(exchange))
            if value:
                trailers.append((field.name, value))
        return trailers

    def ready(self) -> bool:
        """Return True if the first block has arrived; otherwise the head is sent without it."""
        ready = getattr(self._body, "ready", None)
        return ready is None or ready()

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        if exchange.connection is None and not self.ready():
            # An empty block lets a server send the head (PEP 3333). gunicorn does so; a client of events needs it early.
            yield b""
        try:
            for block in self._body:
                exchange.body_bytes_sent += len(block)
                yield block
        except ProxyError as error:
            _note_cut(exchange, error)
            if exchange.connection is not None:
                raise  # the worker cuts the connection, so a truncated response never looks complete
            if not exchange.body_bytes_sent:
                yield b""
            if (
                self._response is not None
                and self._response.length is None
                and exchange.protocol == "HTTP/1.0"
                and can_tunnel(exchange.environ)
            ):
                # The end of the connection would look like the end of the body.
                reset(client_socket(exchange.environ))
            # Other servers would answer a ProxyError with an error page, or log it as a defect of the application.
            raise ConnectionResetError(errno.ECONNRESET, str(error)) from error
        exchange.completed = True

    def at_hand(self) -> bytes | None:
        """Return the whole body if it is one block that has arrived, else None. The worker calls it once."""
        body = self._body
        if self._response is None:
            return None
        block: bytes | None
        if isinstance(body, Forwarded):
            block = body.at_hand()
        elif type(body) is tuple:
            block = body[0] if len(body) == 1 else None
        else:
            take = getattr(body, "at_hand", None)
            block = take() if take is not None else None
        if block is not None:
            self._exchange.body_bytes_sent = len(block)
            self._exchange.completed = True
        return block

    def close(self) -> None:
        """Close the response and end the exchange; safe to call more than once."""
        response, self._response = self._response, None
        if response is None:
            return
        exchange = self._exchange
        try:
            response.close()
        finally:
            if exchange.leases:
                for lease in exchange.leases:
                    lease.close()
            exchange.finished_at = wall_time()
            self._ended(exchange)


class HangUp(Delivery):
    """No response (`Response.hangs_up`): the connection is closed. Servers differ in how that is signalled."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        if self._exchange.connection is not None:
            raise ClientGone("closed without a response")
        client_socket(self._exchange.environ).shutdown(socket.SHUT_RDWR)
        # gunicorn's workers and Werkzeug's server then fail to write, without a message.
        raise StopIteration


class EmptyDelivery(Delivery):
    """A response without a body: HEAD, 204, 304."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        self._exchange.completed = True
        return iter(())


class SplicedDelivery(Delivery):
    """A body that moves itself to the client's stream."""

    __slots__ = ()

    def send_to(self, stream: Any) -> int:
        """Move the whole body to `stream` and return the number of bytes. Raises UpstreamError if the upstream cuts it short."""
        exchange = self._exchange
        try:
            sent: int = self._body.send_to(stream)  # type: ignore[attr-defined]
        except ProxyError as error:
            _note_cut(exchange, error)
            raise
        exchange.body_bytes_sent += sent
        exchange.completed = True
        return sent


class FileDelivery(Delivery):
    """A part of a file, for the server's sendfile."""

    __slots__ = ("count", "file", "offset")

    def __init__(self, exchange: Exchange, response: Response, ended: Callable[[Exchange], None]) -> None:
        super().__init__(exchange, response, ended)
        body: FileBody = response.body  # type: ignore[assignment]
        self.file = body.file
        self.offset = body.offset
        self.count = body.count
        exchange.completed = True
        exchange.body_bytes_sent = body.count

    def __iter__(self) -> Iterator[bytes]:
        self._exchange.body_bytes_sent = 0
        return super().__iter__()


def _note_cut(exchange: Exchange, error: ProxyError) -> None:
    """Log that a response was cut short, with the server and the reason; at level info if the client left."""
    if isinstance(error, UpstreamError):
        errorlog.line("error", str(error), exchange, exchange.tries[-1].address if exchange.tries else exchange.upstream_name)
    else:
        errorlog.line("info", str(error), exchange)
