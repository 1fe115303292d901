"""The head of a response: `start_response` (PEP 3333), the framing, and the fields of the server.

Rules:
- The server chooses the framing: a length if one is known, chunks for HTTP/1.1, the end of the connection for HTTP/1.0.
- `Date`, `Server` and `Connection` are the application's if it sets them.
- The values of the application have any type. They are checked here, not by their annotations.
- A head with a byte that could end a line is an error of the application, and nothing of it is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...clocks import wall_time
from .fields import LINES, NAMES, STATUSES, check_value, clock, learn_name, learn_status, remember_line

if TYPE_CHECKING:
    from ..link import Link
    from ..request import Request


class HeadWriter:
    """The head of one response. gunicorn's access log and hooks read `status`, `headers` and `sent`."""

    # Set by start_response.
    code: int
    fields: str
    """The application's fields as lines, without those about framing and the connection."""
    ours: str
    """The lines of Server and Date that the application did not set."""
    rest: str
    """The lines about framing and connection that are known after start_response."""
    left: int | None
    """Bytes of the body that are still to be sent; None without a length."""
    chunked: bool
    bare: bool
    """True if no body may follow this head."""
    switches: bool
    """True if the connection leaves HTTP behind this head: 101, or 2xx to a CONNECT."""

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

    def __init__(self, connection: Link, head: Request, keep: bool) -> None:
        self.connection = connection
        self.head = head
        self.method = head.method
        self.keep = keep
        """True if the connection may carry another request after this response."""
        self.status = ""
        self.headers: Any = []
        self.head_sent = False
        self.sent = 0
        self.failed = False
        """True if the application failed and a standard page was sent instead."""

    def environ(self) -> dict[str, Any]:
        """Return the environ of the request, on a connection of HTTP/1."""
        connection: Any = self.connection
        environ: dict[str, Any] = connection.environ_of(self)
        return environ

    # --- the application's side ---

    def start_response(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        """Accept the status and the fields (PEP 3333). Raises ValueError or TypeError for those that must not be sent."""
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response was called twice: pass exc_info to replace a head that was not sent")
        self.code = STATUSES.get(status) or learn_status(status)
        self._fields(headers)
        self.status = status
        self.headers = headers
        return self.write

    def _fields(self, headers: Any) -> None:
        """Check the fields, and decide the framing and the connection's persistence (RFC 9112, sections 6.3 and 9.3)."""
        names = NAMES
        length: int | None = None
        dated = served = False
        connection = ""
        lines: list[str] = []
        known = LINES
        for pair in headers:
            line = known.get(pair) if type(pair) is tuple else None
            if line is not None:
                lines.append(line)
                continue
            name, value = pair
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
            line = f"{name}: {value}\r\n"
            lines.append(line)
            if not meaning:
                remember_line(pair, line)
        now = int(wall_time())
        if now != clock.second:
            clock.tick(now)
        if not served:
            self.ours = f"Server: {clock.server}\r\n" if dated else clock.ours
        else:
            self.ours = "" if dated else f"Date: {clock.date}\r\n"
        self.fields = "".join(lines)
        self._frame(length, connection)

    def _frame(self, length: int | None, connection: str) -> None:
        """Decide the framing by the status, the length and the application's Connection field, which may be empty."""
        self.left = length
        self.rest = ""
        code = self.code
        self.chunked = False
        self.bare = code == 204 or code == 304 or self.method == "HEAD"
        if self.method == "CONNECT":
            # Bytes behind a refused CONNECT were meant for the tunnel and are not a request.
            self.keep = False
        if code == 101 or (code < 300 and self.method == "CONNECT"):
            # The connection leaves HTTP, so the application's Connection field is sent alone.
            self.switches = self.bare = True
            self.keep = False
            self.left = None
            if connection:
                self.rest = f"Connection: {connection}\r\n"
            return
        self.switches = False
        if code == 204:
            # No Content-Length in a 204 (RFC 9110, section 8.6).
            self.left = None
        elif length is not None:
            self.rest = f"Content-Length: {length}\r\n"
        if connection:
            self._connection_options(connection)

    def _length(self, value: str, before: int | None) -> int:
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"invalid Content-Length {value!r}: pass the length in bytes as decimal digits")
        if before is not None and before != int(value):
            raise ValueError("the application set two different Content-Length fields: set one")
        return int(value)

    def _connection_options(self, connection: str) -> None:
        """Apply the application's Connection field: `close` is obeyed, `close` and `keep-alive` are removed."""
        options = [option for part in connection.split(",") if (option := part.strip())]
        if "close" in [option.lower() for option in options]:
            self.keep = False
        others = [option for option in options if option.lower() not in ("close", "keep-alive")]
        if others:
            self.rest += f"Connection: {', '.join(others)}\r\n"

    def early_hints(self, headers: Any) -> None:
        """Send a 103 with these fields to an HTTP/1.1 client (`wsgi.early_hints`)."""
        if self.head_sent or not self.head.modern:
            return
        for name, value in headers:
            learn_name(name)
            check_value(name, value)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        interim = f"HTTP/1.1 103 Early Hints\r\n{fields}\r\n".encode("latin-1")
        self.connection.head_out += len(interim)
        self.connection.send(interim)

    def _finish_head(self, whole: int | None = None) -> bytes:
        """Return the complete head. `whole` is the length of a body that is complete and whose length was not set."""
        if not self.status:
            raise AssertionError("the application returned a body without calling start_response: call it first")
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
        self.connection.head_out += len(head)
        return head

    def write(self, block: Any) -> None:
        """Send a block of the body, behind the head if that has not been sent."""
        raise NotImplementedError
