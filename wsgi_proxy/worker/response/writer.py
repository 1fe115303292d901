"""The body of a response: `write` and the application's iterable (PEP 3333), framed for the client.

Rules:
- A body that is shorter than its Content-Length cuts the connection; a longer one is truncated to it. Nothing is padded.
- The head and the first block leave in one system call.
- The application's iterable may be of any type. Bodies of this package can send themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...http import LAST_CHUNK, encode_end
from ..request import FileWrapper
from .head import HeadWriter

if TYPE_CHECKING:
    from ...net import Stream

_SMALL_FILE: Final = 32 * 1024
"""Bytes of a file that is read and sent together with the head."""
_SMALL_BLOCK: Final = 32 * 1024
"""Bytes of a block that is copied behind the head; a larger one is passed to sendmsg beside it."""


class ResponseWriter(HeadWriter):
    """The writer of one response, head and body."""

    __slots__ = ()

    def fresh(self) -> ResponseWriter:
        """Return a response to the same request, to replace this one before anything of it is sent."""
        return ResponseWriter(self.connection, self.head, False)

    def break_off(self) -> None:
        """Make sure that a response that the application did not finish does not look complete."""
        if not self.chunked and self.left is None:
            # The end of the connection is the end of the body: only a reset tells the two apart.
            self.connection.break_off()

    def write(self, block: Any) -> None:
        """Send the head if it has not been sent, and a block of the body."""
        if not isinstance(block, (bytes, bytearray, memoryview)):
            raise TypeError(f"a block of the body is {type(block).__name__}: yield bytes")
        head = b"" if self.head_sent else self._finish_head()
        self._send(head, block)

    def _send(self, head: bytes, block: Any) -> None:
        size = len(block)
        left = self.left
        if self.bare:
            size = 0
        elif left is not None:
            if size > left:
                size = left
                block = block[:left]
            self.left = left - size
        if not size:
            if head:
                self.connection.send(head)
            return
        self.sent += size
        self._put(head, block, size)

    def _put(self, head: bytes, block: Any, size: int) -> None:
        """Send a block that is not empty, behind a head or none."""
        if self.chunked:
            head += b"%x\r\n" % size
            if size <= _SMALL_BLOCK:
                self.connection.send(b"%b%b\r\n" % (head, block))
            else:
                self.connection.send_all([head, block, b"\r\n"])
        elif not head:
            self.connection.send(block)
        elif size <= _SMALL_BLOCK:
            self.connection.send(head + block)
        else:
            self.connection.send_all([head, block])

    def _send_whole(self, head: bytes, block: bytes) -> None:
        """Send a complete body behind its head, with the end of its framing."""
        size = len(block)
        if not self.chunked or not size:
            self._send(head, block)
            self.finish()
            return
        self.sent += size
        head += b"%x\r\n" % size
        end = self._end()
        if size <= _SMALL_BLOCK:
            self.connection.send(b"%b%b\r\n%b" % (head, block, end))
        else:
            self.connection.send_all([head, block, b"\r\n" + end])

    def _end(self) -> bytes:
        """Return the last chunk and the trailer fields."""
        trailers = self.connection.trailers
        return LAST_CHUNK if trailers is None else encode_end(trailers() if callable(trailers) else trailers)

    def _has_trailers(self) -> bool:
        """Return True if trailer fields follow an empty body, which must then be chunked."""
        trailers = self.connection.trailers
        if trailers is None or self.bare or not self.head.modern:
            return False
        found = self.connection.trailers = trailers() if callable(trailers) else trailers
        return bool(found)

    def deliver(self, result: Any) -> None:
        """Send the body that the application returned. Raises the exceptions of its iterable, and ClientGone."""
        if type(result) is list or type(result) is tuple:
            if len(result) == 1 and self.status and not self.head_sent and type(result[0]) is bytes:
                # Compiled, this name has the type `bytes`. A block of another type, below, needs another name.
                only = result[0]
                whole = None if self.method == "HEAD" else len(only)
                self._send(self._finish_head(whole), only)
                self.finish()
                return
        elif self.status and not self.head_sent:
            at_hand = getattr(result, "at_hand", None)
            if at_hand is not None and not self.bare:
                whole_body = at_hand()
                if whole_body is not None:
                    self._send_whole(self._finish_head(), whole_body)
                    return
            if self._deliver_whole(result):
                return
            ready = getattr(result, "ready", None)
            if ready is not None and not ready():
                # The body takes long (events, long polling), so its head is sent first.
                self.connection.send(self._finish_head())
        for block in result:
            if block:
                self.write(block)
                if self.bare:
                    break
        if not self.connection.taken:
            self.finish()

    def _deliver_whole(self, result: Any) -> bool:
        """Let the body send itself; return False if it cannot, or not with this framing."""
        if self.switches:
            self.connection.send(self._finish_head())
            send_to = getattr(result, "send_to", None)
            if send_to is None:
                for block in result:
                    if block:
                        self.connection.send(block)
                        self.sent += len(block)
            else:
                self.sent += self._send_aside(send_to)
            return True
        if self.bare:
            return False
        if isinstance(result, FileWrapper):
            extent = result.extent()
            if extent is None:
                return False
            self._send_file(*extent)
            return True
        if self.left is None:
            return False
        send_to = self._moves_itself(result)
        if send_to is not None:
            self.connection.send(self._finish_head())
            self._sent_aside(self._send_aside(send_to))
            return True
        file = getattr(result, "file", None)
        if file is not None and hasattr(result, "offset"):
            self._send_file(file.fileno(), result.offset, result.count)
            return True
        return False

    def _moves_itself(self, result: Any) -> Any:
        """Return the method that moves a body to the client's stream; None if there is none or it must not be used."""
        return getattr(result, "send_to", None)

    def _send_aside(self, send_to: Callable[[Stream], int]) -> int:
        """Let a body send itself. An OSError from it can only be one of the client's stream."""
        try:
            moved = send_to(self.connection.stream) or 0
            self.connection.bytes_out += moved
            return moved
        except OSError as error:
            self.connection.lost(error)

    def _send_file(self, number: int, offset: int, count: int) -> None:
        """Send a part of an open file. A file that has become shorter cuts the connection."""
        if self.left is not None:
            count = min(count, self.left)
        head = self._finish_head(count)
        if count <= _SMALL_FILE:
            self._send(head, os.pread(number, count, offset))
            self.finish()
            return
        self.connection.send(head)
        self.connection.send_file(number, offset, count)
        self._sent_aside(count)

    def _sent_aside(self, count: int) -> None:
        self.sent += count
        if self.left is not None:
            self.left -= count
        self.finish()

    def finish(self) -> None:
        """End the framing of a complete body. Raises ShortBody if it is shorter than announced."""
        if not self.head_sent:
            self.connection.send(self._finish_head(None if self._has_trailers() else 0))
        if self.bare:
            return
        if self.chunked:
            self.connection.send(self._end())
        elif self.left:
            raise ShortBody(
                f"the body ended {self.left} bytes before its Content-Length: the application must send the length that it set"
            )


class ShortBody(Exception):
    """The application's body was shorter than its Content-Length."""
