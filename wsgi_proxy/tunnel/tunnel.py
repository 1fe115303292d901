"""Tunnels: a client's connection after a 101 or a successful CONNECT.

Rules:
- The tunnel is the body of its Response. Iterating it runs the pump (`tunnel/pump.py`) to the end of the tunnel, and yields
  nothing.
- A CONNECT ends when both sides have ended, an upgraded connection when one has.
- Under ProxyWorker the tunnel takes over the client's connection. Other servers hand out their socket, and the tunnel writes the
  head itself.
- Bytes that arrived together with either head are passed on.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ProxyError
from ..net import PlainStream, Stream, client_socket
from ..transport import Route, open_stream
from .pump import splice

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..response import Response


class Upper(Protocol):
    """The upstream's side of a tunnel: `Dialled` for a CONNECT, or the forwarded request whose `reply` is a 101."""

    reply: Any

    def close(self) -> None: ...


class Dialled:
    """An upstream connection for a CONNECT, opened through a route. Raises ConnectFailed or UpstreamTimeout."""

    __slots__ = ("_stream", "connect_time", "reply")

    def __init__(self, route: Route) -> None:
        started = time.monotonic()
        self._stream = open_stream(route)
        self.connect_time = time.monotonic() - started
        self.reply = self

    def take_over(self) -> tuple[Stream, bytes]:
        return self._stream, b""

    def close(self) -> None:
        self._stream.close()


class Tunnelled:
    """The body of a 101, or of the 200 for a CONNECT. Iterating it runs the tunnel and yields nothing.

    `upper` owns the upstream connection and is closed together with this object. `protocol` is the Upgrade value of a 101.
    `idle` is the limit in seconds for a tunnel in which no byte moves.
    """

    __slots__ = ("_exchange", "_idle", "_response", "_upper", "protocol")

    def __init__(self, upper: Upper, protocol: str, idle: float | None) -> None:
        self._upper = upper
        self._idle = idle or None
        self.protocol = protocol
        self._exchange: Exchange | None = None
        self._response: Response | None = None

    def run(self, exchange: Exchange, response: Response) -> Tunnelled:
        """Prepare the tunnel and add the fields of a 101. The server must hand over its connections (`require_connection`)."""
        self._exchange = exchange
        self._response = response
        if response.status == 101:
            head = getattr(self._upper.reply, "head", None)
            response.headers += [("Connection", "upgrade"), ("Upgrade", (head.upgrade if head else "") or self.protocol)]
        return self

    def __iter__(self) -> Iterator[bytes]:
        exchange, response = self._exchange, self._response
        assert exchange is not None and response is not None
        upstream, upstream_rest = self._upper.reply.take_over()
        half_close = response.status != 101
        if exchange.connection is not None:
            client, client_rest = exchange.connection.take_over()
            self._count(exchange, splice(client, upstream, client_rest, upstream_rest, self._idle, half_close))
        else:
            sock, client_rest = _client_of(exchange.environ)
            client = _duplicate(sock)
            client.write_timeout = self._idle
            client.sendall(_head(response))
            try:
                self._count(exchange, splice(client, upstream, client_rest, upstream_rest, self._idle, half_close))
            finally:
                # The server will still try to write a response: it must find the connection closed.
                _shut(sock)
        return iter(())

    @staticmethod
    def _count(exchange: Exchange, moved: tuple[int, int]) -> None:
        exchange.body_bytes_sent += moved[1]
        if exchange.tries:
            exchange.tries[-1].bytes_sent += moved[0]
            exchange.tries[-1].bytes_received += moved[1]

    def close(self) -> None:
        self._upper.close()


def can_tunnel(environ: dict[str, Any]) -> bool:
    """Return True if this server hands over its connections."""
    connection = environ.get("wsgi_proxy.connection")
    return client_socket(environ) is not None if connection is None else bool(connection.can_take_over)


def require_connection(exchange: Exchange) -> None:
    """Raise ProxyError(501) if the server does not hand over its connections. Called before the upstream is contacted."""
    if not can_tunnel(exchange.environ):
        raise ProxyError(
            "this WSGI server does not hand over its connections; run the proxy under ProxyWorker to use tunnels", status=501
        )


def _client_of(environ: dict[str, Any]) -> tuple[Any, bytes]:
    """Return (the client's socket, the bytes that the server's parser read beyond the request)."""
    sock = client_socket(environ)
    unreader = getattr(getattr(environ["wsgi.input"], "reader", None), "unreader", None)
    take = getattr(unreader, "take_buffered", None)
    return sock, take() if take is not None else b""


def _duplicate(sock: Any) -> Stream:
    """Return a stream on the same connection that leaves the server's socket object intact."""
    if hasattr(sock, "unwrap"):
        return PlainStream(sock)  # TLS state cannot be shared, so the object itself is used
    return Stream.of(socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno())))


def _shut(sock: Any) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The connection is already closed.
        return


def _head(response: Response) -> bytes:
    reason = response.reason or ("Switching Protocols" if response.status == 101 else "Connection established")
    fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    return f"HTTP/1.1 {response.status} {reason}\r\n{fields}\r\n".encode("latin-1")
