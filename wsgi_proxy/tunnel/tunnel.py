"""Tunnels: what a 101, or a CONNECT that was granted, makes of a client's connection.

Rules:
- The tunnel is the body of its Answer: iterating it pumps (tunnel_pump.py) until both halves have ended, and yields nothing.
- Under ProxyWorker the client's connection is taken over; other servers hand out their socket, and the head is written here.
- No byte is lost that came behind either head.
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
    """The upstream's end of a tunnel: `transport.Reply` after a 101 within its Forwarded, or Dialled."""

    reply: Any

    def close(self) -> None: ...


class Dialled:
    """A connection for a CONNECT, made by a route. Raises ConnectFailed or UpstreamTimeout."""

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
    """The body of a 101, or of a CONNECT's 200: iterating it pumps until the tunnel ends, and yields nothing.

    `upper` owns the upstream's connection and is closed with this. `protocol` is what the Upgrade field of a 101 says.
    """

    __slots__ = ("_response", "_idle", "_upper", "_x", "protocol")

    def __init__(self, upper: Upper, protocol: str, idle: float | None) -> None:
        self._upper = upper
        self._idle = idle or None
        self.protocol = protocol
        self._x: Exchange | None = None
        self._response: Response | None = None

    def run(self, exchange: Exchange, response: Response) -> Tunnelled:
        """Make ready, before the head goes out; the server hands over its connections (`require_connection`)."""
        self._x = exchange
        self._response = response
        if response.status == 101:
            head = getattr(self._upper.reply, "head", None)
            response.headers += [("Connection", "upgrade"), ("Upgrade", (head.upgrade if head else "") or self.protocol)]
        return self

    def __iter__(self) -> Iterator[bytes]:
        x, response = self._x, self._response
        assert x is not None and response is not None
        upstream, upstream_rest = self._upper.reply.take_over()
        if x.connection is not None:
            client, client_rest = x.connection.take_over()
            self._count(x, splice(client, upstream, client_rest, upstream_rest, self._idle))
        else:
            sock, client_rest = _client_of(x.environ)
            client = _duplicate(sock)
            client.write_timeout = self._idle
            client.sendall(_head(response))
            try:
                self._count(x, splice(client, upstream, client_rest, upstream_rest, self._idle))
            finally:
                # The server still means to write an answer: it must find the connection closed.
                _shut(sock)
        return iter(())

    @staticmethod
    def _count(exchange: Exchange, moved: tuple[int, int]) -> None:
        exchange.body_bytes_sent += moved[1]

    def close(self) -> None:
        self._upper.close()


def can_tunnel(environ: dict[str, Any]) -> bool:
    """Whether this server hands over its connections."""
    return "wsgi_proxy.connection" in environ or client_socket(environ) is not None


def require_connection(exchange: Exchange) -> None:
    """Raise ProxyError(501) where the server does not hand over its connections, before an upstream is asked for a tunnel."""
    if not can_tunnel(exchange.environ):
        raise ProxyError("this WSGI server does not hand over its connections, so nothing can be tunnelled", status=501)


def _client_of(environ: dict[str, Any]) -> tuple[Any, bytes]:
    """(the client's socket, bytes that its parser read beyond the request)."""
    sock = client_socket(environ)
    unreader = getattr(getattr(environ["wsgi.input"], "reader", None), "unreader", None)
    take = getattr(unreader, "take_buffered", None)
    return sock, take() if take is not None else b""


def _duplicate(sock: Any) -> Stream:
    """A stream on the same connection, so that the server's own object stays whole."""
    if hasattr(sock, "unwrap"):
        return PlainStream(sock)  # TLS state cannot be shared; the object itself is used
    return Stream.of(socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno())))


def _shut(sock: Any) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is closed already, which is what is wanted.
        return


def _head(response: Response) -> bytes:
    reason = response.reason or ("Switching Protocols" if response.status == 101 else "Connection established")
    fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    return f"HTTP/1.1 {response.status} {reason}\r\n{fields}\r\n".encode("latin-1")
