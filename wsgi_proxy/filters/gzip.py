"""`gzip`: compresses responses.

Rules:
- Only nginx's statuses (200, 403, 404) of the types of `gzip_types` are compressed, and none that has a Content-Encoding.
- Bytes leave at each mark, so that a client sees an event of a stream when it happens.
- A short body gets a small window, as in nginx, because preparing a large one costs more than compressing it.
Source: ngx_http_gzip_filter_module, by behaviour.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .accepting import may_compress
from .fields import clear_length, has_type, vary, weaken_etag
from .pipeline import Filter, Transform

if TYPE_CHECKING:
    from ..config import GzipSettings, Location
    from ..exchange import Exchange
    from ..response import Response

_SMALL = 4096
"""Bytes that are not worth a block, and wait for more."""

STATUSES = frozenset({200, 403, 404})
"""The statuses of compressed responses."""


def compile_gzip(location: Location) -> Filter | None:
    """Return the filter of a location; None without `gzip on`."""
    return Gzip(location.gzip) if location.gzip.enabled else None


def compressible(response: Response, min_length: int) -> bool:
    """Return True if a response's status, coding and length let it be compressed."""
    if response.status not in STATUSES or response.header("content-encoding"):
        return False
    length = response.header("content-length")
    return length is None or int(length) >= min_length


def encode(response: Response, coding: str) -> None:
    """Adapt the fields of a response that is being compressed."""
    clear_length(response)
    weaken_etag(response)
    response.headers.append(("Content-Encoding", coding))


def compile_vary(location: Location) -> Filter | None:
    """Return the filter that adds Vary to a response whose file `gzip_static` chose; None without `gzip_vary on`."""
    return _vary if location.gzip.vary else None


def _vary(exchange: Exchange, response: Response) -> Transform | None:
    if exchange.varies:
        vary(response)
    return None


class Gzip:
    """The filter of one location."""

    __slots__ = ("_settings",)
    instant = True

    def __init__(self, settings: GzipSettings) -> None:
        self._settings = settings

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        if not compressible(response, settings.min_length) or not has_type(response, settings.types):
            return None
        if settings.vary and not exchange.subrequest:
            vary(response)
        if not may_compress(exchange, settings, response):
            return None
        length = response.header("content-length")
        encode(response, "gzip")
        window, memory = _sizes(settings, int(length) if length else 0)

        def compressed(blocks: Iterator[bytes]) -> Iterator[bytes]:
            return _compressed(exchange, blocks, zlib.compressobj(settings.comp_level, zlib.DEFLATED, 16 + window, memory))

        return compressed


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
