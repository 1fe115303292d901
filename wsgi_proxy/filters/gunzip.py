"""`gunzip`: decompresses responses for clients that do not accept gzip.

Rules:
- The memory for a response is bounded: a block that grows is passed on in pieces.
- Data that is no gzip, or that ends early, ends the response like a body that breaks off.
- A part of a compressed body (206) cannot be decompressed and is passed on.
Source: ngx_http_gunzip_module, by behaviour.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import TruncatedResponse
from .accepting import may_compress
from .fields import clear_length, drop, vary, weaken_etag
from .pipeline import Filter, Transform

if TYPE_CHECKING:
    from ..config import GzipSettings, Location
    from ..exchange import Exchange
    from ..response import Response

PIECE = 64 * 1024
"""The largest number of bytes that are decompressed at once."""

_WINDOW = 16 + zlib.MAX_WBITS
_MAGIC = b"\x1f\x8b"


def compile_gunzip(location: Location) -> Filter | None:
    """Return the filter of a location; None without `gunzip on`."""
    return Gunzip(location.gzip) if location.gzip.gunzip else None


class Gunzip:
    """The filter of one location."""

    __slots__ = ("_settings",)

    def __init__(self, settings: GzipSettings) -> None:
        self._settings = settings

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        if (response.header("content-encoding") or "").lower() != "gzip" or response.status in (206, 304):
            return None
        if settings.vary:
            vary(response)
        if may_compress(exchange, settings, response):
            return None
        drop(response, "content-encoding")
        clear_length(response)
        weaken_etag(response)
        return inflated


def inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of gzip data. Members that follow each other are one content (RFC 1952, section 2.2)."""
    coder = zlib.decompressobj(_WINDOW)
    begun = False
    for block in blocks:
        if not block:
            yield block
            continue
        begun = True
        while block:
            if coder.eof:
                if not _MAGIC.startswith(block[:2]):
                    break  # padding behind the last member
                coder = zlib.decompressobj(_WINDOW)
            try:
                piece = coder.decompress(block, PIECE)
            except zlib.error as error:
                raise TruncatedResponse(f"inflate() failed: {error}") from error
            block = coder.unused_data if coder.eof else coder.unconsumed_tail
            if piece:
                yield piece
    if begun and not coder.eof:
        raise TruncatedResponse("inflate() failed: the gzip data of the response ends early")
