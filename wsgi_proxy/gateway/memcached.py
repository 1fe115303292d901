"""memcached: one `get`, and its value as a response.

Rules:
- The request is `get KEY`, where the KEY is `$memcached_key` with its blanks, control characters and percent signs escaped.
- A value is a 200 with its length, no value is a 404, any other line makes the response invalid. Other bytes than `END` behind
  the value are logged, and end the connection.
- With `memcached_gzip_flag` a value with one of these flags has Content-Encoding: gzip.
Source: memcached's protocol.txt, "Retrieval command"; ngx_http_memcached_module.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import InvalidResponse, ProxyError
from .protocols import Gateway
from .records import Records

if TYPE_CHECKING:
    from ..config import GatewaySettings

_ESCAPED: Final = re.compile(r"[\x00-\x20%\x7f]")
_LONGEST: Final = 1024
"""The most bytes of a line with a key, which has 250 at most."""
_LAST: Final = b"\r\nEND\r\n"


class Memcached(Gateway):
    """A `get` for the one parameter of the location, its key. The connection may be used again."""

    __slots__ = ("_flag",)

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings)
        self.keeps = True
        self.status_line = False
        self._flag = settings.gzip_flag

    def parameter(self, name: str, value: str) -> str:
        return value

    def head(self, parameters: list[str], length: int | None) -> bytes:
        key = parameters[0] if parameters else ""
        if not key:
            raise ProxyError('the "$memcached_key" variable is not set')
        escaped = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", key)
        return f"get {escaped}\r\n".encode("latin-1")

    def decoder(self, log: Callable[[str, str], None] | None) -> Records | None:
        return Value(self._flag, log)


class Value(Records):
    """An incremental decoder of one value; `feed` returns it as a CGI response."""

    __slots__ = ("_ahead", "_flag", "_line", "_told", "_value_left")

    def __init__(self, flag: int, log: Callable[[str, str], None] | None) -> None:
        super().__init__(True, (), log)
        self._told = log
        self._flag = flag
        self._line = b""
        self._value_left = -1
        """The bytes of the value that have not arrived; -1 before its line."""
        self._ahead = _LAST
        """The part of the end that has not arrived."""

    def feed(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        if self._value_left < 0:
            line = self._line + data
            end = line.find(b"\n")
            if end < 0:
                if len(line) > _LONGEST:
                    raise InvalidResponse("memcached sent too long a line")
                self._line = line
                return pieces
            self._line = b""
            pieces.append(self._begin_value(line[:end].rstrip(b"\r")))
            data = line[end + 1 :]
            if self.done:
                self.rest = data
                return pieces
        if self._value_left and data:
            piece = data[: self._value_left]
            self._value_left -= len(piece)
            data = data[len(piece) :]
            pieces.append(piece)
        if not self._value_left and data:
            size = min(len(data), len(self._ahead))
            if data[:size] != self._ahead[:size]:
                # The value is whole. The rest makes the connection useless for another request.
                if self._told is not None:
                    self._told("error", "memcached sent invalid trailer while reading upstream")
                self.rest, self.done = data, True
                return pieces
            self._ahead = self._ahead[size:]
            self.rest = data[size:]
            self.done = not self._ahead
        return pieces

    def close(self) -> None:
        super().close()
        self._told = None

    def _begin_value(self, line: bytes) -> bytes:
        """Return the head of the response for the first line: `VALUE key flags length`, or `END` without a value."""
        if line == b"END":
            self.done = True
            return b"Status: 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        words = line.split(b" ")
        if len(words) < 4 or words[0] != b"VALUE" or not words[2].isdigit() or not words[3].isdigit():
            shown = line[:80].decode("latin-1")
            raise InvalidResponse(f'memcached sent invalid response: "{shown}"')
        self._value_left = int(words[3])
        coding = b"Content-Encoding: gzip\r\n" if self._flag and int(words[2]) & self._flag else b""
        return b"Status: 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (coding, self._value_left)
