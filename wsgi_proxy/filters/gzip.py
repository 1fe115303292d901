"""`gzip`: compresses responses.

Rules:
- Only nginx's statuses (200, 403, 404) of the types of `gzip_types` are compressed, and none that has a Content-Encoding.
- Bytes leave at each mark, so that a client sees an event of a stream when it happens.
- The compressor is that of ISA-L or zlib-ng (the extra `gzip`) for the levels at which their bodies are about as short as zlib's.
- A short body gets a small window, as in nginx, because preparing a large one costs more than compressing it.
Source: ngx_http_gzip_filter_module, by behaviour.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .accepting import may_compress
from .fields import Coded, encode, parsed_type, vary
from .pipeline import Filter, Transform

if TYPE_CHECKING:
    from ..config import GzipSettings, Location, MediaTypes
    from ..exchange import Exchange
    from ..response import Response

_ISAL_LEVELS: Final = 2
"""The levels of ISA-L, which takes a third of zlib's time. Its level 3 gives larger bodies than zlib's."""

_SMALL: Final = 4096
"""Bytes that are not worth a block, and wait for more."""

STATUSES: Final = frozenset({200, 403, 404})
"""The statuses of compressed responses."""


def compile_gzip(location: Location) -> Filter | None:
    """Return the filter of a location; None without `gzip on`."""
    return Gzip(location.gzip) if location.gzip.enabled else None


def compressible(response: Response, fields: Coded, min_length: int, types: MediaTypes) -> bool:
    """Return True if a response's status, coding, length and type let it be compressed."""
    if response.status not in STATUSES or fields.coding:
        return False
    if fields.length and int(fields.length) < min_length:
        return False
    return types is None or parsed_type(response, fields.type)[0] in types


def compile_vary(location: Location) -> Filter | None:
    """Return the filter that adds Vary to a response whose file `gzip_static` chose; None without `gzip_vary on`."""
    return _vary if location.gzip.vary else None


def _vary(exchange: Exchange, response: Response) -> Transform | None:
    if exchange.varies:
        vary(response)
    return None


class Gzip:
    """The filter of one location."""

    __slots__ = ("_compressor", "_settings")
    instant = True

    def __init__(self, settings: GzipSettings) -> None:
        self._settings = settings
        self._compressor = compressor_for(settings.comp_level)

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        fields = Coded(response)
        if not compressible(response, fields, settings.min_length, settings.types):
            return None
        if settings.vary and not exchange.subrequest:
            vary(response)
        if not may_compress(exchange, settings, response):
            return None
        encode(response, "gzip")
        window, memory = _sizes(settings, int(fields.length or 0))
        compressor = self._compressor

        def compressed(blocks: Iterator[bytes]) -> Iterator[bytes]:
            return _compressed(exchange, blocks, compressor(settings.comp_level, zlib.DEFLATED, 16 + window, memory))

        return compressed


def compressor_for(level: int) -> Any:
    """Return the function that makes a compressor for a level: that of ISA-L or zlib-ng if it is installed, else zlib's.

    zlib-ng's level 1 gives bodies that are a fifth larger than zlib's.
    """
    if level <= _ISAL_LEVELS:
        try:
            from isal import isal_zlib
        except ImportError:
            pass
        else:
            return isal_zlib.compressobj
    if level > 1:
        try:
            from zlib_ng import zlib_ng
        except ImportError:
            pass
        else:
            return zlib_ng.compressobj
    return zlib.compressobj


def _compressed(exchange: Exchange, blocks: Iterator[bytes], coder: Any) -> Iterator[bytes]:
    """Yield the compressed blocks, and note the sizes for $gzip_ratio at the end."""
    compress, held = coder.compress, b""
    taken = given = 0
    for block in blocks:
        if block:
            taken += len(block)
            held += compress(block)
            if len(held) < _SMALL:
                continue
        else:
            held += coder.flush(zlib.Z_SYNC_FLUSH)
        given += len(held)
        yield held
        held = b""
        if not block:
            yield b""
    held += coder.flush()
    exchange.gzip_sizes = (taken, given + len(held))
    yield held


def _sizes(settings: GzipSettings, length: int) -> tuple[int, int]:
    """Return the binary logarithm of the window's size, and zlib's memory level, for a body of `length` bytes (0: unknown)."""
    window, memory = settings.window, settings.memory
    if length:
        # zlib uses 262 bytes of a window for itself.
        while length < (1 << (window - 1)) - 262:
            window -= 1
            memory -= 1
    return window, max(memory, 1)
