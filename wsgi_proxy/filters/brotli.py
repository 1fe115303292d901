"""`brotli`: compresses responses by Brotli (RFC 7932), with the extra `brotli` of this package.

Rules:
- The conditions are those of `gzip` without `gzip_proxied`, `gzip_disable` and `gzip_http_version`. A client that accepts both
  codings gets Brotli, because this filter comes first.
- Bytes leave at each mark, so that a client sees an event of a stream when it happens.
Source: ngx_brotli, by its documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .accepting import accepts
from .fields import Coded, encode, vary
from .gzip import compressible
from .pipeline import Filter, Transform

if TYPE_CHECKING:
    from ..config import BrotliSettings, Location
    from ..exchange import Exchange
    from ..response import Response

_SMALL = 4096
"""Bytes that are not worth a block, and wait for more."""

_SMALLEST = 10
"""The binary logarithm of the smallest window (RFC 7932, section 9.1)."""


def has_brotli() -> bool:
    """Return True if the library is installed."""
    return find_spec("brotli") is not None


def accepts_brotli(exchange: Exchange) -> bool:
    """Return True if the client of a request accepts Brotli."""
    return not exchange.subrequest and accepts(exchange.sent("HTTP_ACCEPT_ENCODING") or "", "br")


def compile_brotli(location: Location) -> Filter | None:
    """Return the filter of a location; None without `brotli on`."""
    if not location.brotli.enabled:
        return None
    import brotli

    return Brotli(location.brotli, location.gzip.vary, brotli.Compressor)


class Brotli:
    """The filter of one location. `coder` is the library's class of compressors."""

    __slots__ = ("_coder", "_settings", "_vary")
    instant = True

    def __init__(self, settings: BrotliSettings, varies: bool, coder: Any) -> None:
        self._settings = settings
        self._vary = varies
        self._coder = coder

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        fields = Coded(response)
        if not compressible(response, fields, settings.min_length, settings.types):
            return None
        if self._vary and not exchange.subrequest:
            vary(response)
        if not accepts_brotli(exchange):
            return None
        length = int(fields.length or 0)
        encode(response, "br")
        window = settings.window
        while length and window > _SMALLEST and length <= (1 << (window - 1)) - 16:
            window -= 1  # a window takes as much memory as a body of its size

        def compressed(blocks: Iterator[bytes]) -> Iterator[bytes]:
            return _compressed(blocks, self._coder(quality=settings.comp_level, lgwin=window))

        return compressed


def _compressed(blocks: Iterator[bytes], coder: Any) -> Iterator[bytes]:
    held = b""
    for block in blocks:
        held += coder.process(block) if block else coder.flush()
        if not block or len(held) >= _SMALL:
            yield held
            held = b""
        if not block:
            yield b""
    yield held + coder.finish()
