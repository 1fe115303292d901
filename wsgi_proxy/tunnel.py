"""The byte pump: what an upgraded connection (101) or a CONNECT becomes.

Rules:
- Bytes go both ways as they come; none is lost that came behind either head.
- An end of one half is passed on as the end of that half, and the other goes on (RFC 9110, 9.3.6). A reset ends both.
- Back-pressure: at most one block each way is held; a side that does not read is not read for.
- The tunnel ends when nothing has moved either way for `idle` seconds (proxy_read_timeout).
- In a thread one loop serves both ways. On gevent's loop each way has a greenlet: its waits are the cheap ones.
"""

from __future__ import annotations

import _thread
import os
import select
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from .errors import ProxyError
from .stream import PlainStream, Stream, TLSStream
from .wire import open_wire
from .wire_route import Idles, Route

if TYPE_CHECKING:
    from .exchange import Answer, Exchange

BLOCK = 64 * 1024


def splice(client: Stream, upstream: Stream, client_rest: bytes, upstream_rest: bytes, idle: float | None) -> tuple[int, int]:
    """Pump until both halves have ended, one side failed, or nothing moved for `idle` seconds: (bytes up, bytes down).

    The rests are bytes already read from each side. Both streams are closed in the end.
    """
    for stream in (client, upstream):
        stream.read_timeout = stream.write_timeout = idle
    kind = _Loop if isinstance(_base(client), PlainStream) or isinstance(_base(upstream), PlainStream) else _Pair
    tunnel = kind(client, upstream, client_rest, upstream_rest, idle)
    try:
        tunnel.run()
    finally:
        client.close()
        upstream.close()
    return tunnel.up.moved, tunnel.down.moved


def _base(stream: Stream) -> Stream:
    return stream.lower if isinstance(stream, TLSStream) else stream


class _Way:
    """One direction: what was read and is not written yet, how much went through, and whether it has ended."""

    __slots__ = ("ended", "moved", "pending", "sink", "source")

    def __init__(self, source: Stream, sink: Stream, rest: bytes) -> None:
        self.source = source
        self.sink = sink
        self.pending = memoryview(rest)
        self.moved = 0
        self.ended = False


class _Loop:
    """Both ways in the calling thread."""

    def __init__(self, client: Stream, upstream: Stream, client_rest: bytes, upstream_rest: bytes, idle: float | None) -> None:
        self.up = _Way(client, upstream, client_rest)
        self.down = _Way(upstream, client, upstream_rest)
        self._idle = idle

    def run(self) -> None:
        ways = (self.up, self.down)
        for way in ways:
            os.set_blocking(way.source.fileno(), False)
        try:
            while not (self.up.ended and self.down.ended):
                if not self._wait():
                    return
                for way in ways:
                    self._step(way)
        except OSError:
            # Either side reset the connection or takes nothing any more: the tunnel is over for both.
            return

    def _wait(self) -> bool:
        """Until something can be done; False after `idle` seconds."""
        poll = select.poll()
        events: dict[int, int] = {}
        for way in (self.up, self.down):
            if way.ended:
                continue
            if way.pending:
                events[way.sink.fileno()] = events.get(way.sink.fileno(), 0) | select.POLLOUT
            elif not way.source.plain and way.source.readable():
                return True
            else:
                events[way.source.fileno()] = events.get(way.source.fileno(), 0) | select.POLLIN
        for number, what in events.items():
            poll.register(number, what)
        return bool(poll.poll(None if self._idle is None else self._idle * 1000))

    def _step(self, way: _Way) -> None:
        """Write what is pending, else read what is there."""
        if way.ended:
            return
        if not way.pending:
            data = way.source.recv_nowait(BLOCK)
            if data is None:
                return
            if not data:
                way.ended = True
                way.sink.shutdown(socket.SHUT_WR)
                return
            way.pending = memoryview(data)
        if way.sink.plain:
            try:
                sent = os.write(way.sink.fileno(), way.pending)
            except BlockingIOError:
                return
        else:
            way.sink.sendall(way.pending)
            sent = len(way.pending)
        way.moved += sent
        way.pending = way.pending[sent:]


class _Pair:
    """Each way in a greenlet of its own: `_thread` is gevent's where its streams are in use."""

    def __init__(self, client: Stream, upstream: Stream, client_rest: bytes, upstream_rest: bytes, idle: float | None) -> None:
        self.up = _Way(client, upstream, client_rest)
        self.down = _Way(upstream, client, upstream_rest)
        self._idle = idle
        self._last = time.monotonic()
        self._over = _thread.allocate_lock()

    def run(self) -> None:
        self._over.acquire()
        _thread.start_new_thread(self._run_up, ())
        try:
            self._pump(self.down)
        except BaseException:
            # We are being stopped: closing wakes the other way too.
            self.up.source.close()
            self.up.sink.close()
            raise
        finally:
            self._over.acquire()

    def _run_up(self) -> None:
        try:
            self._pump(self.up)
        finally:
            self._over.release()

    def _pump(self, way: _Way) -> None:
        source, sink = way.source, way.sink
        try:
            data: Any = way.pending
            if not data:
                data = self._read(source)
            while data:
                sink.sendall(data)
                way.moved += len(data)
                self._last = time.monotonic()
                data = self._read(source)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # A reset, or nothing moved for too long: over for both; closing wakes the other way.
            source.close()
            sink.close()

    def _read(self, source: Stream) -> bytes:
        """The next bytes; TimeoutError only when the other way has been idle as long."""
        while True:
            try:
                data = source.recv(BLOCK)
            except TimeoutError:
                left = self._last + (self._idle or 0) - time.monotonic()
                if left <= 0:
                    raise
                source.read_timeout = left
                continue
            source.read_timeout = self._idle
            self._last = time.monotonic()
            return data


class Upper(Protocol):
    """The upstream's end of a tunnel: `transport.Reply` after a 101 within its Forwarded, or Dialled."""

    reply: Any

    def close(self) -> None: ...


class Dialled:
    """A connection for a CONNECT, made by a route. Raises ConnectFailed or UpstreamTimeout."""

    __slots__ = ("_stream", "connect_time", "reply")

    def __init__(self, route: Route) -> None:
        started = time.monotonic()
        self._stream = open_wire(route, Idles().of(route)).stream
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

    __slots__ = ("_answer", "_idle", "_upper", "_x", "protocol")

    def __init__(self, upper: Upper, protocol: str, idle: float | None) -> None:
        self._upper = upper
        self._idle = idle or None
        self.protocol = protocol
        self._x: Exchange | None = None
        self._answer: Answer | None = None

    def run(self, x: Exchange, answer: Answer) -> Tunnelled:
        """Make ready, before the head goes out. ProxyError(501) where the server does not hand over its connections."""
        if not can_tunnel(x.environ):
            self.close()
            raise ProxyError("this server does not hand over its connections, so nothing can be upgraded", status=501)
        self._x = x
        self._answer = answer
        if answer.status == 101:
            head = getattr(self._upper.reply, "head", None)
            answer.headers += [("Connection", "upgrade"), ("Upgrade", (head.upgrade if head else "") or self.protocol)]
        return self

    def __iter__(self) -> Iterator[bytes]:
        x, answer = self._x, self._answer
        assert x is not None and answer is not None
        upstream, upstream_rest = self._upper.reply.take_over()
        if x.connection is not None:
            client, client_rest = x.connection.take_over()
            self._count(x, splice(client, upstream, client_rest, upstream_rest, self._idle))
        else:
            sock, client_rest = _client_of(x.environ)
            client = _duplicate(sock)
            client.write_timeout = self._idle
            client.sendall(_head(answer))
            try:
                self._count(x, splice(client, upstream, client_rest, upstream_rest, self._idle))
            finally:
                # The server still means to write an answer: it must find the connection closed.
                _shut(sock)
        return iter(())

    @staticmethod
    def _count(x: Exchange, moved: tuple[int, int]) -> None:
        x.body_bytes_sent += moved[1]

    def close(self) -> None:
        self._upper.close()


def can_tunnel(environ: dict[str, Any]) -> bool:
    """Whether this server hands over its connections: ProxyWorker, gunicorn's workers, Werkzeug's development server."""
    return "wsgi_proxy.connection" in environ or "gunicorn.socket" in environ or "werkzeug.socket" in environ


def _client_of(environ: dict[str, Any]) -> tuple[Any, bytes]:
    """(the client's socket, bytes that its parser read beyond the request)."""
    sock = environ.get("gunicorn.socket") or environ["werkzeug.socket"]
    unreader = getattr(getattr(environ["wsgi.input"], "reader", None), "unreader", None)
    take = getattr(unreader, "take_buffered", None)
    return sock, take() if take is not None else b""


def _duplicate(sock: Any) -> Stream:
    """A stream on the same connection, so that the server's own object stays whole."""
    if hasattr(sock, "unwrap"):
        return PlainStream(sock)  # TLS state cannot be shared; the object itself is used
    return Stream(socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno())))


def _shut(sock: Any) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is closed already, which is what is wanted.
        return


def _head(answer: Answer) -> bytes:
    reason = answer.reason or ("Switching Protocols" if answer.status == 101 else "Connection established")
    fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    return f"HTTP/1.1 {answer.status} {reason}\r\n{fields}\r\n".encode("latin-1")
