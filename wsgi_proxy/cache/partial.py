"""A request's conditions and range, met by an answer that is being fetched whole for the store.

Rules:
- Where a request can fill the store, its own conditions and range stay behind, as in nginx, and a HEAD becomes a GET: a herd of
  such requests then makes one fetch. The upstream's 200 is for the store, and this client gets of it the part that it asked for.
- If-Match and If-Unmodified-Since, several ranges, and a range beyond proxy_cache_max_range_offset are the upstream's to answer.
- A 200 that turns out not to be storable is sent as it came, but a range of it is cut out here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import TruncatedResponse
from ..response import Response
from .background import drain
from .response import is_conditional
from .rfc9111 import (
    NOT_MODIFIED,
    PART,
    UNSATISFIABLE,
    Outcome,
    not_modified_fields,
    part_fields,
    part_of,
    select,
    unsatisfiable_fields,
)

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .plan import CachePlan

logger = logging.getLogger("wsgi_proxy")

Spawn = Callable[[Callable[[], None]], Any]


def met(exchange: Exchange, response: Response, now: float, spawn: Spawn | None) -> Response:
    """What of a whole answer that is being stored goes to this client: all, a part (206), or its fields (304, 416)."""
    if response.status != 200 or not is_conditional(exchange):
        return response
    chosen = select(exchange.method, exchange.pairs, 200, response.headers, response.length, now, now)
    if chosen.kind == PART and response.length is not None:
        return _part(response, chosen, response.length, to_the_end=spawn is None)
    if chosen.kind == NOT_MODIFIED:
        return without_body(response, 304, not_modified_fields(response.headers), spawn)
    if chosen.kind == UNSATISFIABLE and response.length is not None:
        return without_body(response, 416, unsatisfiable_fields(response.headers, response.length), spawn)
    return response


def met_alone(exchange: Exchange, response: Response, now: float) -> Response:
    """What of a whole answer that is not stored goes to this client: its range, or all."""
    if response.status != 200 or response.length is None or "HTTP_RANGE" not in exchange.environ:
        return response
    chosen = select(exchange.method, exchange.pairs, 200, response.headers, response.length, now, now)
    if chosen.kind == PART:
        return _part(response, chosen, response.length, to_the_end=False)
    if chosen.kind == UNSATISFIABLE:
        made = Response(416, unsatisfiable_fields(response.headers, response.length), length=0)
        made.source, made.raw = response.source, response.raw
        response.close()
        return made
    return response


def _part(response: Response, chosen: Outcome, length: int, *, to_the_end: bool) -> Response:
    body = PassingPart(response.body, chosen.start, chosen.count, to_the_end=to_the_end)
    part = Response(206, part_fields(response.headers, chosen, length), body, length=chosen.count)
    part.source, part.raw = response.source, response.raw
    return part


def without_body(response: Response, status: int, fields: list[tuple[str, str]], spawn: Spawn | None) -> Response:
    """An answer of fields alone, while the body of ``answer`` is read for the store."""
    made = Response(status, fields, (), length=response.length if status == response.status else None, reason="")
    made.source, made.raw = response.source, response.raw
    if status == response.status:
        made.reason = response.reason
    if spawn is None:
        drain(response)
        return made
    try:
        spawn(lambda: drain(response))
    except RuntimeError as error:
        # No thread to be had: this client has all that it asked for, and the store gets nothing.
        logger.error("an answer is not stored: %s", error)
        response.close()
    return made


def may_fill(exchange: Exchange, plan: CachePlan) -> bool:
    """Whether the whole answer may be fetched for the store on behalf of this request, which may want less of it."""
    if not is_conditional(exchange):
        return exchange.method != "HEAD" or plan.convert_head
    if "HTTP_IF_MATCH" in exchange.environ or "HTTP_IF_UNMODIFIED_SINCE" in exchange.environ:
        return False
    if exchange.method == "HEAD":
        return plan.convert_head
    return exchange.method == "GET" and (
        "HTTP_RANGE" not in exchange.environ or wants_whole(exchange, plan.settings.max_range_offset)
    )


def wants_whole(exchange: Exchange, max_offset: int | None) -> bool:
    """Whether the request's range may be served from a whole that is fetched for it: it is one range that begins no later than
    proxy_cache_max_range_offset, if that is set."""
    if "HTTP_RANGE" not in exchange.environ:
        return False
    # As if the body were endless: then a suffix begins at its end, beyond every offset.
    chosen = part_of([exchange.environ["HTTP_RANGE"]], 1 << 62)
    return chosen.kind == PART and (max_offset is None or chosen.start <= max_offset)


class PassingPart:
    """A part of a body; with `to_the_end` the body is read on behind it, where no helper does that once this is closed."""

    __slots__ = ("_body", "_end", "_start", "_to_the_end")

    def __init__(self, body: Iterable[bytes], start: int, count: int, *, to_the_end: bool = True) -> None:
        self._body = body
        self._start = start
        self._end = start + count
        self._to_the_end = to_the_end

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for block in self._body:
            piece = block[max(0, self._start - at) : max(0, self._end - at)]
            at += len(block)
            if piece:
                yield piece
            if at >= self._end and not self._to_the_end:
                return
        if at < self._end:
            raise TruncatedResponse("the upstream's body is shorter than it announced")

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
