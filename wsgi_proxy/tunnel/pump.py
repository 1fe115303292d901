"""The byte pump between two streams.

Rules:
- Bytes go both ways as they come.
- An end of one half is passed on as the end of that half, and the other goes on (RFC 9110, 9.3.6). A reset ends both.
- Back-pressure: at most one block each way is held; a side that does not read is not read for.
- It ends when nothing has moved either way for `idle` seconds (proxy_read_timeout).
- In a thread one loop serves both ways. On gevent's loop each way has a greenlet: its waits are the cheap ones.
"""

from __future__ import annotations

import _thread
import os
import select
import socket
import time
from typing import Any

from ..net import PlainStream, Stream, TLSStream, milliseconds

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

    __slots__ = ("ended", "held", "moved", "pending", "sink", "source")

    def __init__(self, source: Stream, sink: Stream, rest: bytes) -> None:
        self.source = source
        self.sink = sink
        self.pending = memoryview(rest)
        self.held = False
        """The sink has encrypted bytes that the kernel has not taken."""
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
            if way.pending or way.held:
                events[way.sink.fileno()] = events.get(way.sink.fileno(), 0) | select.POLLOUT
            elif not way.source.plain and way.source.readable():
                return True
            else:
                events[way.source.fileno()] = events.get(way.source.fileno(), 0) | select.POLLIN
        for number, what in events.items():
            poll.register(number, what)
        return bool(poll.poll(milliseconds(self._idle)))

    def _step(self, way: _Way) -> None:
        """Write what is pending, else read what is there."""
        if way.ended:
            return
        if way.held:
            way.held = not way.sink.flush_nowait()
            if way.held:
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
            # Never waits: the other way would wait with it.
            sent = way.sink.send_nowait(way.pending)
            way.held = not way.sink.flush_nowait()
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
