"""FastCGI requests to a responder.

Source: FastCGI Specification 1.0, sections 3.4, 5.1 and 6.2; ngx_http_fastcgi_create_request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import ProxyError
from .protocols import Gateway
from .records import BEGIN_REQUEST, END_OF_STDIN, PARAMS, Records, record, stdin

if TYPE_CHECKING:
    from ..config import GatewaySettings

_MOST: Final = 65535
_SHORT: Final = [chr(size) for size in range(128)]
_NO_PARAMS: Final = record(PARAMS, b"")


class FastCGI(Gateway):
    """A responder's requests; with `fastcgi_keep_conn` the connection is kept."""

    __slots__ = ("_begin", "_caught")

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings)
        self.streams = True
        self.keeps = settings.keep_conn
        self.status_line = False
        self._caught = tuple(text.encode("latin-1") for text in settings.catch_stderr)
        self._begin = record(BEGIN_REQUEST, bytes((0, 1, 1 if self.keeps else 0, 0, 0, 0, 0, 0)))

    def parameter(self, name: str, value: str) -> str:
        if len(name) < 128 and len(value) < 128:
            return f"{_SHORT[len(name)]}{_SHORT[len(value)]}{name}{value}"
        return _size(len(name)) + _size(len(value)) + name + value

    def head(self, parameters: list[str], length: int | None) -> bytes:
        content = "".join(parameters).encode("latin-1")
        if len(content) > _MOST:
            # A responder need not join a pair that lies in two records, and PHP does not.
            raise ProxyError(f"fastcgi request record is too big: {len(content)}")
        return self._begin + (record(PARAMS, content) if content else b"") + _NO_PARAMS

    def body(self, data: bytes) -> bytes:
        return stdin(data) if data else b""

    def end(self) -> bytes:
        return END_OF_STDIN

    def decoder(self, log: Callable[[str, str], None] | None) -> Records | None:
        return Records(self.keeps, self._caught, log)


def _size(size: int) -> str:
    """Return a length in one byte, or in four of which the highest bit is set."""
    if size < 128:
        return _SHORT[size]
    return chr(size >> 24 & 127 | 128) + chr(size >> 16 & 255) + chr(size >> 8 & 255) + chr(size & 255)
