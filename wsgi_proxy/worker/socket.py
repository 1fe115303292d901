"""`gunicorn.socket`: the client's connection as a socket object, for applications that expect gunicorn's own workers.

Rules:
- The first use takes the connection over (`Link.take_over`); creating the object does not.
- It has the methods for bytes, timeouts, addresses and polling. The bytes are already decrypted.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..net import Stream
    from .connection import Connection


class StreamSocket:
    """A connection's stream with the interface of a socket."""

    __slots__ = ("_connection", "_early", "_stream")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stream: Stream | None = None
        self._early = b""

    @property
    def stream(self) -> Stream:
        if self._stream is None:
            self._stream, self._early = self._connection.take_over()
            self._stream.read_timeout = self._stream.write_timeout = None
        return self._stream

    def recv(self, size: int) -> bytes:
        stream = self.stream
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
            return data
        return stream.recv(size)

    def recv_into(self, buffer: Any, size: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(min(size, len(view)) if size else len(view))
        view[: len(data)] = data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.stream.sendall(data)

    def send(self, data: bytes) -> int:
        self.stream.sendall(data)
        return len(data)

    def settimeout(self, seconds: float | None) -> None:
        stream = self.stream
        stream.read_timeout = stream.write_timeout = seconds

    def gettimeout(self) -> float | None:
        return self.stream.read_timeout

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def fileno(self) -> int:
        return self.stream.fileno()

    def shutdown(self, how: int) -> None:
        self.stream.shutdown(how)

    def close(self) -> None:
        self.stream.close()

    def getpeername(self) -> Any:
        return self._connection.peer

    def getsockname(self) -> Any:
        return self._connection.server_addr

    def setsockopt(self, level: int, option: int, value: int) -> None:
        with socket.socket(fileno=socket.dup(self.stream.fileno())) as sock:
            sock.setsockopt(level, option, value)
