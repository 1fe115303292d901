"""Writing one answer: `start_response`, `write`, and the application's iterable (PEP 3333), framed for the client.

Rules:
- The framing is ours: a length where one is known, chunked for HTTP/1.1, the connection's end for HTTP/1.0.
- A body that is shorter than its Content-Length cuts the connection; one that is longer is cut to it. Nothing is padded.
- The head and the first block leave in one system call.
- `Date`, `Server` and `Connection` are the application's where it sets them.
- The application's values come as it made them: their types are judged here, not by their annotations.
- A head with a byte that could end a line is the application's error, and nothing of it is sent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..http import LAST_CHUNK, encode_end
from .environ import FileWrapper
from .response_fields import NAMES, SERVER, STATUSES, check_value, clock, learn_name, learn_status

if TYPE_CHECKING:
    from ..net import Stream
    from .connection import Connection
    from .request_head import Request

_SMALL_FILE = 32 * 1024
"""A file of up to so many bytes is read and leaves with the head."""
_SMALL_BLOCK = 32 * 1024
"""Blocks up to this size are copied behind what goes before them; larger ones are handed over beside it."""


class ResponseWriter:
    """One answer on its way; the names gunicorn's access log and hooks read (`status`, `headers`, `sent`) are kept."""

    # Set by start_response.
    code: int
    fields: str
    """The application's fields as lines, those about framing and the connection left out."""
    ours: str
    """Server and Date, where the application set none."""
    rest: str
    """What start_response has to say of framing and connection."""
    left: int | None
    """Bytes of the body that are still owed; None without a length."""
    chunked: bool
    bare: bool
    """No body may follow this head."""
    switches: bool
    """The connection stops being HTTP behind this head: 101, or CONNECT's success."""

    __slots__ = (
        "bare",
        "chunked",
        "code",
        "connection",
        "failed",
        "fields",
        "head",
        "head_sent",
        "headers",
        "keep",
        "left",
        "method",
        "ours",
        "rest",
        "sent",
        "status",
        "switches",
    )

    def __init__(self, connection: Connection, head: Request, keep: bool) -> None:
        self.connection = connection
        self.head = head
        self.method = head.method
        self.keep = keep
        """Whether the connection may carry another request after this answer."""
        self.status = ""
        self.headers: Any = []
        self.head_sent = False
        self.sent = 0
        self.failed = False
        """The application failed, and an answer of ours took its place."""

    # --- the application's side ---

    def start_response(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        """PEP 3333's. ValueError or TypeError for what must not go out."""
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response was called twice without exc_info")
        self.code = STATUSES.get(status) or learn_status(status)
        self._fields(headers)
        self.status = status
        self.headers = headers
        return self.write

    def _fields(self, headers: Any) -> None:
        """Check the fields, and decide how the body is framed and what becomes of the connection (RFC 9112, 6.3 and 9.3)."""
        names = NAMES
        length: int | None = None
        dated = served = False
        connection = ""
        lines: list[str] = []
        for name, value in headers:
            meaning = names.get(name)
            if meaning is None:
                meaning = learn_name(name)
            if meaning:
                if meaning == "content-length":
                    length = self._length(value, length)
                    continue
                if meaning == "transfer-encoding":
                    continue
                if meaning == "connection":
                    check_value(name, value)
                    connection = f"{connection}, {value}" if connection else value
                    continue
                if meaning == "date":
                    dated = True
                else:
                    served = True
            if not value.isprintable():
                check_value(name, value)
            lines.append(f"{name}: {value}\r\n")
        now = int(time.time())
        if now != clock.second:
            clock.tick(now)
        if not served:
            self.ours = f"Server: {SERVER}\r\n" if dated else clock.ours
        else:
            self.ours = "" if dated else f"Date: {clock.date}\r\n"
        self.fields = "".join(lines)
        self.left = length
        self.rest = ""
        code = self.code
        self.chunked = False
        self.bare = code == 204 or code == 304 or self.method == "HEAD"
        if self.method == "CONNECT":
            # What comes behind a refused CONNECT was meant for the tunnel, and is no request.
            self.keep = False
        if code == 101 or (code < 300 and self.method == "CONNECT"):
            # The connection stops being HTTP behind this head; what the application says of it stands alone.
            self.switches = self.bare = True
            self.keep = False
            self.left = None
            if connection:
                self.rest = f"Connection: {connection}\r\n"
            return
        self.switches = False
        if code == 204:
            # RFC 9110, 8.6: no Content-Length in it.
            self.left = None
        elif length is not None:
            self.rest = f"Content-Length: {length}\r\n"
        if connection:
            self._connection_options(connection)

    def _length(self, value: str, before: int | None) -> int:
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"invalid Content-Length {value!r}")
        if before is not None and before != int(value):
            raise ValueError("two Content-Lengths")
        return int(value)

    def _connection_options(self, connection: str) -> None:
        """What the application says in Connection: `close` is heeded, what is ours to say is taken out."""
        options = [option for part in connection.split(",") if (option := part.strip())]
        if "close" in [option.lower() for option in options]:
            self.keep = False
        others = [option for option in options if option.lower() not in ("close", "keep-alive")]
        if others:
            self.rest += f"Connection: {', '.join(others)}\r\n"

    def early_hints(self, headers: Any) -> None:
        """`wsgi.early_hints`: send a 103 with these fields, where the client can take it."""
        if self.head_sent or not self.head.modern:
            return
        for name, value in headers:
            learn_name(name)
            check_value(name, value)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.connection.send(f"HTTP/1.1 103 Early Hints\r\n{fields}\r\n".encode("latin-1"))

    # --- the wire's side ---

    def _finish_head(self, whole: int | None = None) -> bytes:
        """The complete head. `whole` is the body's length when all of it is at hand and no length was given."""
        if not self.status:
            raise AssertionError("the application did not call start_response")
        rest = self.rest
        if not self.switches:
            if self.left is None and not self.bare:
                if whole is not None:
                    self.left = whole
                    rest = f"{rest}Content-Length: {whole}\r\n"
                elif self.head.modern and self.connection.settings.chunks:
                    self.chunked = True
                    rest = f"{rest}Transfer-Encoding: chunked\r\n"
                else:
                    self.keep = False
            if self.keep and self.connection.may_keep():
                rest = f"{rest}{self.connection.settings.keep_line}"
            else:
                self.keep = False
                rest = f"{rest}Connection: close\r\n"
        head = f"HTTP/1.1 {self.status}\r\n{self.ours}{self.fields}{rest}\r\n".encode("latin-1")
        self.head_sent = True
        return head

    def write(self, block: Any) -> None:
        """Send the head if it is not sent yet, and a block of the body."""
        if not isinstance(block, (bytes, bytearray, memoryview)):
            raise TypeError(f"a block of the body is {type(block).__name__}, not bytes")
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

    def deliver(self, result: Any) -> None:
        """Send all that the application returned. Raises what its iterable raises, and ClientGone."""
        if type(result) is list or type(result) is tuple:
            if len(result) == 1 and self.status and not self.head_sent and type(result[0]) is bytes:
                block = result[0]
                whole = None if self.method == "HEAD" else len(block)
                self._send(self._finish_head(whole), block)
                self.finish()
                return
        elif self.status and not self.head_sent:
            at_hand = getattr(result, "at_hand", None)
            if at_hand is not None and self.left is not None and not self.bare:
                whole_body = at_hand()
                if whole_body is not None:
                    self._send(self._finish_head(), whole_body)
                    self.finish()
                    return
            if self._deliver_whole(result):
                return
            ready = getattr(result, "ready", None)
            if ready is not None and not ready():
                # An answer whose body takes its time (events, a long poll): its head is not to wait for it.
                self.connection.send(self._finish_head())
        for block in result:
            if block:
                self.write(block)
                if self.bare:
                    break
        if not self.connection.taken:
            self.finish()

    def _deliver_whole(self, result: Any) -> bool:
        """Let a body that can send itself do so; False when this one cannot, or not with this framing."""
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
        send_to = getattr(result, "send_to", None)
        if send_to is not None:
            self.connection.send(self._finish_head())
            self._sent_aside(self._send_aside(send_to))
            return True
        file = getattr(result, "file", None)
        if file is not None and hasattr(result, "offset"):
            self._send_file(file.fileno(), result.offset, result.count)
            return True
        return False

    def _send_aside(self, send_to: Callable[[Stream], int]) -> int:
        """Let a body move itself; the client's stream is the only one whose OSError may come out of that."""
        try:
            return send_to(self.connection.stream) or 0
        except OSError as error:
            self.connection.lost(error)

    def _send_file(self, number: int, offset: int, count: int) -> None:
        """A part of an open file; a file that has become shorter cuts the connection."""
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
        """The body is complete: end its framing. Raises ShortBody when it is not as long as was said."""
        if not self.head_sent:
            self.connection.send(self._finish_head(0))
        if self.bare:
            return
        if self.chunked:
            trailers = self.connection.trailers
            if trailers is None:
                self.connection.send(LAST_CHUNK)
            else:
                self.connection.send(encode_end(trailers() if callable(trailers) else trailers))
        elif self.left:
            raise ShortBody(f"the body ended {self.left} bytes before its Content-Length")


class ShortBody(Exception):
    """The application's body was shorter than its Content-Length."""
