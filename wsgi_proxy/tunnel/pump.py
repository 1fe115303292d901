"""The byte pump between two streams.

Rules:
- Bytes are passed on in both directions as they arrive.
- The end of one direction is passed on and the other direction continues (RFC 9110, section 9.3.6). A reset ends both.
- Back-pressure: each direction buffers at most one block, and reads again only when its sink has taken it.
- The tunnel ends when neither direction has moved a byte for `idle` seconds (proxy_read_timeout).
- In a thread, one loop serves both directions. Under gevent each direction has a greenlet.
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
    """Pump until both directions have ended, one side fails, or no byte moves for `idle` seconds.

    `client_rest` and `upstream_rest` are bytes already read from each side. Returns (bytes sent to the upstream, bytes sent
    to the client) and closes both streams.
    """
    for stream in (client, upstream):
        stream.read_timeout = stream.write_timeout = idle
    kind = _ThreadPump if isinstance(_base(client), PlainStream) or isinstance(_base(upstream), PlainStream) else _GreenletPump
    tunnel = kind(client, upstream, client_rest, upstream_rest, idle)
    try:
        tunnel.run()
    finally:
        client.close()
        upstream.close()
    return tunnel.up.moved, tunnel.down.moved


def _base(stream: Stream) -> Stream:
    return stream.lower if isinstance(stream, TLSStream) else stream


class _Direction:
    """One direction: its pending bytes, the number of bytes moved, and a flag for its end."""

    __slots__ = ("ended", "held", "moved", "pending", "sink", "source")

    def __init__(self, source: Stream, sink: Stream, rest: bytes) -> None:
        self.source = source
        self.sink = sink
        self.pending = memoryview(rest)
        self.held = False
        """True while the sink holds encrypted bytes that the kernel has not taken."""
        self.moved = 0
        self.ended = False


class _ThreadPump:
    """Serve both directions in the calling thread."""

    def __init__(self, client: Stream, upstream: Stream, client_rest: bytes, upstream_rest: bytes, idle: float | None) -> None:
        self.up = _Direction(client, upstream, client_rest)
        self.down = _Direction(upstream, client, upstream_rest)
        self._idle = idle

    def run(self) -> None:
        directions = (self.up, self.down)
        for direction in directions:
            os.set_blocking(direction.source.fileno(), False)
        try:
            while not (self.up.ended and self.down.ended):
                if not self._wait():
                    return
                for direction in directions:
                    self._step(direction)
        except OSError:
            # One side reset the connection or stopped reading: the tunnel ends for both.
            return

    def _wait(self) -> bool:
        """Wait until a direction can move; return False after `idle` seconds."""
        poll = select.poll()
        events: dict[int, int] = {}
        for direction in (self.up, self.down):
            if direction.ended:
                continue
            if direction.pending or direction.held:
                events[direction.sink.fileno()] = events.get(direction.sink.fileno(), 0) | select.POLLOUT
            elif not direction.source.plain and direction.source.readable():
                return True
            else:
                events[direction.source.fileno()] = events.get(direction.source.fileno(), 0) | select.POLLIN
        for descriptor, mask in events.items():
            poll.register(descriptor, mask)
        return bool(poll.poll(milliseconds(self._idle)))

    def _step(self, direction: _Direction) -> None:
        """Write the pending bytes, or read a block and write it, without waiting."""
        if direction.ended:
            return
        if direction.held:
            direction.held = not direction.sink.flush_nowait()
            if direction.held:
                return
        if not direction.pending:
            data = direction.source.recv_nowait(BLOCK)
            if data is None:
                return
            if not data:
                direction.ended = True
                direction.sink.shutdown(socket.SHUT_WR)
                return
            direction.pending = memoryview(data)
        if direction.sink.plain:
            try:
                sent = os.write(direction.sink.fileno(), direction.pending)
            except BlockingIOError:
                return
        else:
            # Without waiting, because the other direction shares this thread.
            sent = direction.sink.send_nowait(direction.pending)
            direction.held = not direction.sink.flush_nowait()
        direction.moved += sent
        direction.pending = direction.pending[sent:]


class _GreenletPump:
    """Serve each direction in a separate greenlet. gevent has patched `_thread` wherever its streams are in use."""

    def __init__(self, client: Stream, upstream: Stream, client_rest: bytes, upstream_rest: bytes, idle: float | None) -> None:
        self.up = _Direction(client, upstream, client_rest)
        self.down = _Direction(upstream, client, upstream_rest)
        self._idle = idle
        self._last = time.monotonic()
        self._over = _thread.allocate_lock()

    def run(self) -> None:
        self._over.acquire()
        _thread.start_new_thread(self._run_up, ())
        try:
            self._pump(self.down)
        except BaseException:
            # The worker is stopping: closing wakes the other direction too.
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

    def _pump(self, direction: _Direction) -> None:
        source, sink = direction.source, direction.sink
        try:
            data: Any = direction.pending
            if not data:
                data = self._read(source)
            while data:
                sink.sendall(data)
                direction.moved += len(data)
                self._last = time.monotonic()
                data = self._read(source)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # A reset or a timeout ends both directions. Closing wakes the other one.
            source.close()
            sink.close()

    def _read(self, source: Stream) -> bytes:
        """Return the next bytes. Raises TimeoutError only if the other direction has been idle for as long."""
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
