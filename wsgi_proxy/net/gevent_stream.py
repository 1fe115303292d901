"""Streams on gevent's loop: the mode of `stream.Stream` where gevent has patched `socket`.

Rules:
- The socket is non-blocking. A wait switches to the hub, and the loop's callback switches straight back (`gevent_side.Side`).
- A peer that always has more to read would starve the other greenlets, so a reader yields after a time slice.
- Everything runs in the thread of the hub that the stream was made in.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.hub import get_hub

from ..clocks import monotonic
from .gevent_side import READ, WRITE, Side
from .stream import Stream, peek_closed, prepare, shut_down, unsent

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TURN = 0.001
"""Seconds for which a greenlet may read without waiting before it yields."""
_INSTANT: Final = 1e-6
"""Seconds of a timer that is due in the loop's next round."""


class GreenStream(Stream):
    """A stream on a non-blocking socket. The file descriptor of a gevent or Python socket object is taken over."""

    __slots__ = ("_sock", "_hub", "reading", "_running_since", "_writing")

    def __init__(self, sock: Any) -> None:
        self.plain = True
        self.read_timeout = None
        self.write_timeout = None
        if type(sock) is not _socket.socket:
            family, kind, proto = sock.family, sock.type, sock.proto
            sock = _socket.socket(family, kind, proto, sock.detach())
        sock.setblocking(False)
        self._sock: _socket.socket = sock
        self._hub = get_hub()
        self.reading = Side(self._hub, sock.fileno(), READ)
        self._running_since = 0.0
        """The monotonic time since which reads have not waited; 0 after a wait."""
        self._writing: Side | None = None

    @classmethod
    def _connect(cls, family: int, where: Any, timeout: float | None, source: str | None) -> Stream:
        stream = cls(_socket.socket(family, socket.SOCK_STREAM))
        try:
            prepare(stream._sock, family, source)
            code = stream._sock.connect_ex(where)
            if code == errno.EINPROGRESS:
                stream._write_side().wait(timeout)
                code = stream._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            stream.close()
            raise
        return stream

    def _write_side(self) -> Side:
        if self._writing is None:
            self._writing = Side(self._hub, self._sock.fileno(), WRITE)
        return self._writing

    def recv(self, size: int) -> bytes:
        self.breathe()
        while True:
            try:
                return self._sock.recv(size)
            except BlockingIOError:
                self.reading.ready = False
                self._running_since = 0.0
                self.reading.wait(self.read_timeout)

    def breathe(self) -> None:
        now = monotonic()
        since = self._running_since
        if not since:
            self._running_since = now
        elif now - since > _TURN:
            self._running_since = 0.0
            # Not sleep(0), which would return here up to a thousand times before the loop polls other connections.
            gevent.sleep(_INSTANT)

    def recv_into(self, buffer: Buffer) -> int:
        while True:
            try:
                return self._sock.recv_into(buffer)
            except BlockingIOError:
                self.reading.ready = False
                self.reading.wait(self.read_timeout)

    def recv_nowait(self, size: int) -> bytes | None:
        self.reading.ready = False
        try:
            return self._sock.recv(size)
        except BlockingIOError:
            return None

    def sendall(self, data: Buffer) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent != (len(data) if type(data) is bytes else memoryview(data).nbytes):
            self._send_rest(unsent([data], sent))

    def send_nowait(self, data: Buffer) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def sendmsg(self, buffers: Sequence[Buffer]) -> None:
        try:
            sent = self._sock.sendmsg(buffers)
        except BlockingIOError:
            sent = 0
        rest = unsent(buffers, sent)
        if rest:
            self._send_rest(rest)

    def _send_rest(self, rest: list[Buffer]) -> None:
        side = self._write_side()
        while rest:
            side.wait(self.write_timeout)
            try:
                rest = unsent(rest, self._sock.sendmsg(rest))
            except BlockingIOError:
                continue

    def sendfile(self, file: int, offset: int, count: int) -> None:
        while count:
            try:
                sent = os.sendfile(self._sock.fileno(), file, offset, min(count, 1 << 30))
            except BlockingIOError:
                self._write_side().wait(self.write_timeout)
                continue
            if not sent:
                raise EOFError(f"the file ended {count} bytes early")
            offset += sent
            count -= sent

    def readable(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def stirred(self) -> bool:
        return not self.reading.started and self.readable()

    def peer_closed(self) -> bool:
        return peek_closed(self._sock)

    def wait_readable(self) -> None:
        self._running_since = 0.0
        self.reading.wait(self.read_timeout)

    def wait_while(self, step: Callable[[], bool]) -> None:
        self._running_since = 0.0
        side = self.reading
        side.step = step
        try:
            side.wait(self.read_timeout)
        finally:
            side.step = None

    def wait_writable(self) -> None:
        self._write_side().wait(self.write_timeout)

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def shutdown(self, how: int) -> None:
        shut_down(self._sock, how)

    def _let_go(self) -> None:
        self.reading.close()
        if self._writing is not None:
            self._writing.close()

    def close(self) -> None:
        self._let_go()
        self._sock.close()

    def detach(self) -> int:
        self._let_go()
        return int(self._sock.detach())

    def __del__(self) -> None:
        # A started watcher outlives its stream and would watch the next owner of the descriptor's number.
        reading = getattr(self, "reading", None)
        if reading is not None and reading.watcher is not None:
            self._let_go()
