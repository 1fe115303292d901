"""Sending to a client's stream.

Rules:
- Every error of the client's stream is raised as ClientGone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ..errors import ClientGone
from ..net import Stream


class Sender:
    """The sending side of a client's connection."""

    __slots__ = ("bytes_out", "gone", "head_out", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.gone = False
        """True if the client has left, or the connection is closed."""
        self.bytes_out = 0
        """Bytes sent for the present request, interim responses and framing included."""
        self.head_out = 0
        """The bytes of heads among them, and over HTTP/2 the framing, which nginx does not count as the body either."""

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes. Raises ClientGone if the client is gone or accepts nothing for `send_timeout`."""
        try:
            self.stream.sendall(data)
            self.bytes_out += len(data)
        except OSError as error:
            self.lost(error)

    def send_all(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send several buffers as `send` does."""
        try:
            self.stream.sendmsg(buffers)
            for buffer in buffers:
                self.bytes_out += len(buffer)
        except OSError as error:
            self.lost(error)

    def send_file(self, file: int, offset: int, count: int) -> None:
        """Send a part of an open file as `send` does."""
        try:
            self.stream.sendfile(file, offset, count)
            self.bytes_out += count
        except OSError as error:
            self.lost(error)

    def lost(self, error: OSError) -> NoReturn:
        """Raise ClientGone for an error of the client's stream."""
        self.gone = True
        if isinstance(error, TimeoutError):
            raise ClientGone("client timed out while the response was sent") from error
        raise ClientGone(f"client closed the connection while the response was sent: {error}") from error

    def break_off(self) -> None:
        """Make `close` reset the connection, so that a truncated response does not look complete."""
        self.gone = True
        self.stream.break_off()
