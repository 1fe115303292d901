"""Requests of uwsgi and SCGI: all variables in one block, then the body as it is.

Source: uWSGI's documentation, "The uwsgi Protocol"; SCGI: A Simple Common Gateway Interface alternative;
ngx_http_uwsgi_create_request, ngx_http_scgi_create_request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ProxyError
from .protocols import Gateway

if TYPE_CHECKING:
    from ..config import GatewaySettings

_MOST: Final = 65535


class Uwsgi(Gateway):
    """A uwsgi request: modifier1, the size of the variables (little endian), modifier2, and the variables."""

    __slots__ = ("_modifier1", "_modifier2")

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings)
        self._modifier1 = settings.modifier1
        self._modifier2 = settings.modifier2

    def parameter(self, name: str, value: str) -> str:
        name_size, size = len(name), len(value)
        if name_size > _MOST or size > _MOST:
            raise ProxyError(f"uwsgi request is too big: {max(name_size, size)}")
        return f"{chr(name_size & 255)}{chr(name_size >> 8)}{name}{chr(size & 255)}{chr(size >> 8)}{value}"

    def head(self, parameters: list[str], length: int | None) -> bytes:
        content = "".join(parameters).encode("latin-1")
        size = len(content)
        if size > _MOST:
            raise ProxyError(f"uwsgi request is too big: {size}")
        return bytes((self._modifier1, size & 255, size >> 8, self._modifier2)) + content


class SCGI(Gateway):
    """An SCGI request: the variables as one netstring, CONTENT_LENGTH first."""

    __slots__ = ()

    def parameter(self, name: str, value: str) -> str:
        return f"{name}\0{value}\0"

    def head(self, parameters: list[str], length: int | None) -> bytes:
        content = "".join([f"CONTENT_LENGTH\0{length or 0}\0", *parameters]).encode("latin-1")
        return b"%d:%b," % (len(content), content)
