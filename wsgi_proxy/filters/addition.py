"""`add_before_body` and `add_after_body`: the responses of two subrequests around a body.

Rules:
- Only a 200 of the types of `addition_types` gets them.
- A page in memory leaves together with the last block before it: one write, and one frame of HTTP/2.
- The added responses pass the filters of their own locations; this filter comes behind those that change the page alone.
Source: ngx_http_addition_filter_module, by behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .fields import clear_length, has_type, weaken_etag
from .pipeline import Filter, Transform, marked

if TYPE_CHECKING:
    from ..config import AdditionSettings, Location
    from ..exchange import Exchange
    from ..response import Response


def compile_addition(location: Location) -> Filter | None:
    """Return the filter of a location; None without `add_before_body` and `add_after_body`."""
    settings = location.addition
    return Addition(settings) if settings.before or settings.after else None


class Addition:
    """The filter of one location."""

    __slots__ = ("_settings",)

    def __init__(self, settings: AdditionSettings) -> None:
        self._settings = settings

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        if response.status != 200 or exchange.subrequest or not has_type(response, settings.types):
            return None
        clear_length(response)
        weaken_etag(response)
        in_memory = isinstance(response.body, (tuple, list))

        def surrounded(blocks: Iterator[bytes]) -> Iterator[bytes]:
            if settings.before:
                yield from _led(_answer(exchange, settings.before), blocks if in_memory else iter(()))
            yield from blocks
            if settings.after:
                yield b""
                yield from _answer(exchange, settings.after)

        return surrounded


def _led(before: Iterator[bytes], page: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the blocks of `before`, the last one joined with the first of `page`."""
    held = b""
    for block in before:
        if held:
            yield held
        held = block
        if not block:
            yield block
    held += next(page, b"")
    if held:
        yield held


def _answer(exchange: Exchange, uri: str) -> Iterator[bytes]:
    """Yield the body of the response to a subrequest."""
    answer = exchange.subrequests.answer(exchange, uri, "")
    try:
        yield from marked(answer.response.body)
    finally:
        answer.close()
