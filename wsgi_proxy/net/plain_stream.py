"""Streams on sockets with timeouts: the mode of `stream.Stream` in any thread, where gevent has not patched `socket`.

Rules:
- A wait is a blocking system call; the socket's own timeout ends it.
- A socket that does its own TLS (`ssl.SSLSocket`) works too. It cannot be peeked through.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .sockets import milliseconds
from .stream import Stream, peek_closed, prepare, shut_down, unsent

if TYPE_CHECKING:
    from typing_extensions import Buffer


class PlainStream(Stream):
    """A stream on a socket object with timeouts, also an SSLSocket, in any thread."""

    __slots__ = ("_sock", "_timeout")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._sock = sock
        self._timeout: float | None = None
        self.plain = not isinstance(sock, ssl.SSLSocket)
        sock.settimeout(None)

    @classmethod
    def _connect(cls, family: int, where: Any, timeout: float | None, source: str | None) -> Stream:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            prepare(sock, family, source)
            sock.settimeout(timeout)
            sock.connect(where)
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    def _limit(self, timeout: float | None) -> None:
        # Setting a timeout is a system call, and most streams never change theirs.
        if timeout != self._timeout:
            self._sock.settimeout(timeout)
            self._timeout = timeout

    def recv(self, size: int) -> bytes:
        self._limit(self.read_timeout)
        return self._sock.recv(size)

    def recv_into(self, buffer: Buffer) -> int:
        self._limit(self.read_timeout)
        return self._sock.recv_into(buffer)

    def recv_nowait(self, size: int) -> bytes | None:
        return self.recv(size) if self.readable() else None

    def sendall(self, data: Buffer) -> None:
        # Not socket.sendall, whose timeout covers the whole; `write_timeout` covers each step.
        self._limit(self.write_timeout)
        view = memoryview(data).cast("B")
        while view:
            sent = self._sock.send(view)
            view = view[sent:]

    def send_nowait(self, data: Buffer) -> int:
        if not self._poll(select.POLLOUT, 0):
            return 0
        if isinstance(self._sock, ssl.SSLSocket):
            self._limit(0.0)
            try:
                return self._sock.send(data)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return 0
        # MSG_DONTWAIT sends the part that fits; a blocking socket would wait for the rest.
        return self._sock.send(data, socket.MSG_DONTWAIT)

    def sendmsg(self, buffers: Sequence[Buffer]) -> None:
        if isinstance(self._sock, ssl.SSLSocket):
            self.sendall(b"".join(buffers))
            return
        self._limit(self.write_timeout)
        rest = unsent(buffers, self._sock.sendmsg(buffers))
        while rest:
            rest = unsent(rest, self._sock.sendmsg(rest))

    def readable(self) -> bool:
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return self._poll(select.POLLIN, 0)

    def peer_closed(self) -> bool:
        if not self.readable():
            return False
        if isinstance(self._sock, ssl.SSLSocket):
            # An SSLSocket cannot be peeked through; its descriptor shows the end of TCP, not a close_notify.
            with socket.socket(fileno=os.dup(self._sock.fileno())) as raw:
                return peek_closed(raw)
        return peek_closed(self._sock)

    def wait_readable(self) -> None:
        if not self.readable() and not self._poll(select.POLLIN, self.read_timeout):
            raise TimeoutError("timed out")

    def wait_writable(self) -> None:
        if not self._poll(select.POLLOUT, self.write_timeout):
            raise TimeoutError("timed out")

    def _poll(self, what: int, timeout: float | None) -> bool:
        fileno = self._sock.fileno()
        if fileno < 0:
            raise ConnectionAbortedError("the stream is closed")
        poll = select.poll()
        poll.register(fileno, what)
        return bool(poll.poll(milliseconds(timeout)))

    def fileno(self) -> int:
        return self._sock.fileno()

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def shutdown(self, how: int) -> None:
        shut_down(self._sock, how)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            # A thread that waits in recv is not woken by close alone.
            shut_down(self._sock, socket.SHUT_RDWR)
        self._sock.close()

    def detach(self) -> int:
        return self._sock.detach()
