"""The byte pump between two streams.

Rules:
- Bytes are passed on in both directions as they arrive.
- With `half_close`, the end of one direction is passed on and the other direction continues (RFC 9110, section 9.3.6). Without
  it, the first end ends the tunnel: a WebSocket whose upstream has left is not held by a client that stays
  (ngx_http_proxy_module, an upgraded connection). A reset ends both.
- Before the surviving side is closed, the bytes that it is sending are read and dropped for up to LINGER seconds. Closing with
  unread bytes would reset the connection and could destroy the last bytes on their way to it.
- Back-pressure: each direction buffers at most one block, and reads again only when its sink has taken it.
- The tunnel ends when neither direction has moved a byte for `idle` seconds (proxy_read_timeout).
- In a thread, one loop serves both directions. Under gevent each direction has a greenlet, and the hub moves the bytes of a
  direction while its greenlet waits, so that a message costs no switch of greenlets.
"""

from __future__ import annotations

import _thread
import os
import select
import socket
import time
from typing import Final

from ..net import PlainStream, Stream, TLSStream, milliseconds

BLOCK: Final = 64 * 1024
LINGER: Final = 5.0
"""Seconds for which the bytes of a side are dropped after the other side has ended (nginx: lingering_timeout)."""


def splice(
    client: Stream, upstream: Stream, client_rest: bytes, upstream_rest: bytes, idle: float | None, half_close: bool
) -> tuple[int, int]:
    """Pump until the tunnel ends, one side fails, or no byte moves for `idle` seconds.

    `client_rest` and `upstream_rest` are bytes already read from each side. With `half_close` the tunnel ends with the second
    direction, otherwise with the first. Returns (bytes sent to the upstream, bytes sent to the client) and closes both streams.
    """
    for stream in (client, upstream):
        stream.read_timeout = stream.write_timeout = idle
    kind = _ThreadPump if isinstance(_base(client), PlainStream) or isinstance(_base(upstream), PlainStream) else _GreenletPump
    tunnel = kind(_Direction(client, upstream, client_rest), _Direction(upstream, client, upstream_rest), idle, half_close)
    try:
        tunnel.run()
    finally:
        client.close()
        upstream.close()
    return tunnel.up.moved, tunnel.down.moved


def _base(stream: Stream) -> Stream:
    return stream.lower if isinstance(stream, TLSStream) else stream


def _drop(stream: Stream) -> None:
    """Read and drop the bytes that the peer is sending, for LINGER seconds at most. Return at once if none have arrived."""
    until = time.monotonic() + LINGER
    try:
        if not _base(stream).readable():
            return
        while (left := until - time.monotonic()) > 0:
            stream.read_timeout = left
            if not stream.recv(BLOCK):
                return
    except OSError:
        # A reset, or a peer that neither sends nor closes: there is nothing left to preserve.
        return


class _Direction:
    """One direction: its pending bytes, the number of bytes moved, and a flag for its end."""

    __slots__ = ("ended", "fault", "held", "last", "moved", "pending", "sink", "source")

    def __init__(self, source: Stream, sink: Stream, rest: bytes) -> None:
        self.source = source
        self.sink = sink
        self.pending = memoryview(rest)
        self.held = False
        """True while the sink holds encrypted bytes that the kernel has not taken."""
        self.moved = 0
        self.ended = False
        self.fault: OSError | None = None
        """The error that `step` met."""
        self.last = time.monotonic()
        """The monotonic time of the last byte."""

    def step(self) -> bool:
        """Read a block and write it, without waiting.

        Return False if that left something to do: `pending` or `held` bytes, an end, a `fault`, or bytes that TLS holds.
        """
        source, sink = self.source, self.sink
        try:
            data = source.recv_nowait(BLOCK)
            if not data:
                self.ended = data is not None
                return data is None
            self.last = time.monotonic()
            sent = sink.send_nowait(data)
            self.moved += sent
            if sent < len(data):
                self.pending = memoryview(data)[sent:]
            if not sink.plain:
                self.held = not sink.flush_nowait()
        except OSError as error:
            self.fault = error
            return False
        return not self.pending and not self.held and not source.held()


class _ThreadPump:
    """Serve both directions in the calling thread."""

    def __init__(self, up: _Direction, down: _Direction, idle: float | None, half_close: bool) -> None:
        self.up = up
        self.down = down
        self._idle = idle
        self._half_close = half_close

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
                    if direction.ended and not self._half_close:
                        _drop(direction.sink)
                        return
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

    def __init__(self, up: _Direction, down: _Direction, idle: float | None, half_close: bool) -> None:
        self.up = up
        self.down = down
        self._idle = idle
        self._half_close = half_close
        self._ended = False
        """True if one side's end has ended the tunnel."""
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
            self._push(direction)
            while not direction.ended:
                # The hub moves the bytes from now on, until one step leaves something to do.
                if direction.step():
                    self._wait(direction)
                self._push(direction)
                source.breathe()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            if self._ended:
                # The other side has ended and is closed.
                _drop(source)
            # A reset or a timeout ends both directions. Closing wakes the other one.
            source.close()
            sink.close()
        else:
            if not self._half_close:
                self._end(source, sink)

    @staticmethod
    def _push(direction: _Direction) -> None:
        """Send the bytes that a step has left, and raise the error that it met."""
        if direction.fault is not None:
            raise direction.fault
        sink = direction.sink
        if direction.pending:
            sink.sendall(direction.pending)
            direction.moved += len(direction.pending)
            direction.pending = memoryview(b"")
            direction.last = time.monotonic()
        while direction.held:
            direction.held = not sink.flush_nowait()
            if direction.held:
                sink.wait_writable()

    def _end(self, source: Stream, sink: Stream) -> None:
        """End the tunnel after the end of `source`. The other greenlet reads from `sink`, and alone may do so."""
        self._ended = True
        if not _base(sink).readable():
            sink.close()
        # A write of the other greenlet fails from now on. The greenlet then drops the unread bytes of `sink`.
        source.close()

    def _wait(self, direction: _Direction) -> None:
        """Wait for bytes that `step` cannot move whole. Raises TimeoutError only if both directions have been idle."""
        source = direction.source
        while True:
            try:
                source.wait_while(direction.step)
            except TimeoutError:
                left = max(self.up.last, self.down.last) + (self._idle or 0) - time.monotonic()
                if left <= 0:
                    raise
                source.read_timeout = left
            else:
                source.read_timeout = self._idle
                return
