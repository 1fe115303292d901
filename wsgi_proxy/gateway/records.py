"""The records of FastCGI 1.0: the request's body as STDIN, and the responder's records as a body and lines for the log.

Rules:
- A request on a connection has the ID 1; requests are not multiplexed.
- STDOUT is the response, head and body. STDERR goes to the error log. END_REQUEST ends the response; with a connection that is
  not kept, the end of STDOUT does as well (ngx_http_fastcgi_input_filter).
- A body never exceeds the declared Content-Length: further bytes are dropped with a line in the log, as in nginx. Fewer bytes
  leave the body incomplete (`short`).
Source: FastCGI Specification 1.0, sections 3 and 5; ngx_http_fastcgi_module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import InvalidResponse
from ..http import Decoder

BEGIN_REQUEST: Final = 1
END_REQUEST: Final = 3
PARAMS: Final = 4
STDIN: Final = 5
STDOUT: Final = 6
STDERR: Final = 7
MOST: Final = 32 * 1024
"""The largest content of a STDIN record, as nginx sends it."""
_RESPONSES: Final = (STDOUT, STDERR, END_REQUEST)
_BYTES: Final = [bytes((number,)) for number in range(256)]
_VERSION: Final = b"\1"
_ID: Final = b"\0\1"
_PADDED: Final = [bytes((padding, 0)) for padding in range(8)]
"""The last two bytes of a header, by the padding behind the content."""
_ZEROS: Final = [bytes(padding) for padding in range(8)]
END_OF_STDIN: Final = b"\x01\x05\x00\x01\x00\x00\x00\x00"

Log = Callable[[str, str], None]
"""A function that takes the level and the text of a line for the error log."""


def record(kind: int, content: bytes) -> bytes:
    """Return one record with its padding to a multiple of 8 bytes. `content` has at most 65535 bytes."""
    size = len(content)
    padding = -size % 8
    return b"".join(
        [_VERSION, _BYTES[kind], _ID, _BYTES[size >> 8], _BYTES[size & 255], _PADDED[padding], content, _ZEROS[padding]]
    )


def stdin(data: bytes) -> bytes:
    """Return a block of the request's body as STDIN records of at most 32 KB."""
    if len(data) <= MOST:
        return record(STDIN, data)
    return b"".join([record(STDIN, data[at : at + MOST]) for at in range(0, len(data), MOST)])


class Records(Decoder):
    """An incremental decoder of a response. `feed` returns the content of STDOUT; at the end `done` is True.

    `caught` are the texts of `fastcgi_catch_stderr`: one in STDERR before the head is complete makes the response invalid.
    """

    __slots__ = ("_caught", "_held", "_kind", "_left", "_log", "_pad", "_past", "_room", "_stderr", "_tail", "kept")

    def __init__(self, kept: bool = False, caught: tuple[bytes, ...] = (), log: Log | None = None) -> None:
        self.done = False
        self.rest = b""
        self.trailers = []
        self.kept = kept
        """True if the connection was asked to stay open after the response."""
        self._caught = caught
        self._log = log
        self._tail = b""
        self._kind = 0
        self._left = self._pad = 0
        self._stderr = b""
        self.short = False
        self._past = False
        """True once the head is complete."""
        self._room = -1
        """The bytes that the declared length leaves; -1 without one."""
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Return the content of STDOUT in `data`, in order, without empty pieces. Raise InvalidResponse."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        pieces: list[bytes] = []
        at, end = 0, len(data)
        kind, left = self._kind, self._left
        while True:
            if left:
                stop = at + left
                if stop > end:
                    stop = end
                left -= stop - at
                if kind == STDOUT:
                    pieces.append(data[at:stop])
                elif kind == STDERR:
                    self._stderr += data[at:stop]
                at = stop
            if not left and self._pad:
                stop = min(end, at + self._pad)
                self._pad -= stop - at
                at = stop
            if kind == END_REQUEST and not left and not self._pad:
                self.done = True
            if self.done or at == end:
                break
            if end - at < 8:
                self._tail = data[at:]
                break
            kind = data[at + 1]
            left = data[at + 4] << 8 | data[at + 5]
            if data[at] != 1 or data[at + 3] != 1 or data[at + 2] or kind not in _RESPONSES:
                self._refuse(data[at : at + 4])
            self._pad = data[at + 6]
            at += 8
            if kind == STDOUT and not left and not self.kept:
                self.done = True
                break
        self._kind, self._left = kind, left
        if self._stderr and not (kind == STDERR and left):
            self._report()
        if self.done:
            self.rest = data[at:]
        return self._bounded(pieces) if self._past else pieces

    def _refuse(self, head: bytes) -> None:
        """Raise InvalidResponse for the first bytes of a record: version, type and ID."""
        if head[0] != 1:
            raise InvalidResponse(f"upstream sent unsupported FastCGI protocol version: {head[0]}{self._when()}")
        if head[1] not in _RESPONSES:
            raise InvalidResponse(f"upstream sent invalid FastCGI record type: {head[1]}{self._when()}")
        byte = f"high byte: {head[2]}" if head[2] else f"low byte: {head[3]}"
        raise InvalidResponse(f"upstream sent unexpected FastCGI request id {byte}{self._when()}")

    def _when(self) -> str:
        return "" if self._past else " while reading response header from upstream"

    def _report(self) -> None:
        text, self._stderr = self._stderr, b""
        if self._log is not None:
            shown = text.rstrip(b"\n\r. ").decode("latin-1")
            doing = "reading upstream" if self._past else "reading response header from upstream"
            self._log("error", f'FastCGI sent in stderr: "{shown}" while {doing}')
        if not self._past and any(each in text for each in self._caught):
            raise InvalidResponse("upstream wrote a text of fastcgi_catch_stderr while reading response header from upstream")

    def begin(self, rest: bytes, length: int | None) -> None:
        """Go on with the body. `rest` is the content that followed the head, `length` the declared length."""
        self._past = True
        self._room = -1 if length is None else length
        self._held = self._bounded([rest] if rest else [])

    def take(self) -> list[bytes]:
        """Return the pieces of the body that arrived together with the head."""
        held, self._held = self._held, []
        return held

    def _bounded(self, pieces: list[bytes]) -> list[bytes]:
        """Return the pieces within the declared length."""
        room = self._room
        if room >= 0:
            kept = []
            for piece in pieces:
                if len(piece) > room:
                    if self._log is not None:
                        text = 'upstream sent more data than specified in "Content-Length" header while reading upstream'
                        self._log("warn", text)
                        self._log = None
                    piece = piece[:room]
                if piece:
                    kept.append(piece)
                room -= len(piece)
            self._room = room
            pieces = kept
            if self.done and room > 0:
                # The body is not complete, and no more of it will come.
                self.done, self.short = False, True
        return pieces

    def close(self) -> None:
        """Drop the function for the log, which refers to the request."""
        self._log = None
