"""A request's conditions and range, applied to a response that is being fetched whole for the store.

Rules:
- If a request can fill the store, its own conditions and range are not forwarded, as in nginx, and a HEAD becomes a GET. Many
  such requests then make one fetch. The upstream's 200 goes to the store, and the client gets the part of it that it asked for.
- The upstream answers If-Match, If-Unmodified-Since, several ranges, and a range beyond proxy_cache_max_range_offset.
- A malformed date is no condition: it is never forwarded and never keeps a request from filling the store.
- A 200 that turns out not to be storable is passed on, but a range of it is cut out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import TruncatedResponse
from ..logs import errorlog
from ..response import Response
from .background import drain
from .response import has_only_malformed_dates, is_conditional, share
from .rfc9111 import (
    FORWARD,
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

Spawn = Callable[[Callable[[], None]], Any]


def met(exchange: Exchange, response: Response, now: float, spawn: Spawn | None) -> Response:
    """Return the client's share of a whole response that is being stored: all, a part (206), or its fields (304, 416)."""
    if response.status != 200 or exchange.subrequest or not is_conditional(exchange):
        return response
    chosen = select(exchange.method, exchange.pairs, 200, response.headers, response.length, now, now)
    chosen = share(exchange, response, chosen)
    if chosen.kind == PART and response.length is not None:
        return _part(response, chosen, response.length, to_the_end=spawn is None)
    if chosen.kind == NOT_MODIFIED:
        return without_body(exchange, response, 304, not_modified_fields(response.headers), spawn)
    if chosen.kind == UNSATISFIABLE and response.length is not None:
        return without_body(exchange, response, 416, unsatisfiable_fields(response.headers, response.length), spawn)
    return response


def met_alone(exchange: Exchange, response: Response, now: float) -> Response:
    """Return the client's share of a whole response that is not stored: its range, or all."""
    if response.status != 200 or response.length is None or exchange.subrequest or "HTTP_RANGE" not in exchange.environ:
        return response
    chosen = select(exchange.method, exchange.pairs, 200, response.headers, response.length, now, now)
    chosen = share(exchange, response, chosen)
    if chosen.kind == PART:
        return _part(response, chosen, response.length, to_the_end=False)
    if chosen.kind == UNSATISFIABLE:
        made = Response(416, unsatisfiable_fields(response.headers, response.length), length=0)
        made.source, made.raw = response.source, response.raw
        response.close()
        return made
    return response


def share_of(exchange: Exchange, whole: Response, now: float) -> tuple[int, int] | None:
    """Return the (first, end) of the part of a response that the client's Range asks for.

    None stands for all of it, (0, 0) for a range that cannot be satisfied.
    """
    if exchange.subrequest or "HTTP_RANGE" not in exchange.environ:
        return None
    chosen = select(exchange.method, exchange.pairs, 200, whole.headers, whole.length, now, now)
    chosen = share(exchange, whole, chosen)
    if chosen.kind == UNSATISFIABLE:
        return 0, 0
    return (chosen.start, chosen.start + chosen.count) if chosen.kind == PART else None


def refusal_of(exchange: Exchange, whole: Response, now: float) -> int:
    """Return 304 or 412 if the client's conditions select nothing of a whole response, else 0."""
    if not is_conditional(exchange):
        return 0
    chosen = select(exchange.method, exchange.pairs, 200, whole.headers, None, now, now)
    return {NOT_MODIFIED: 304, FORWARD: 412}.get(chosen.kind, 0)


def _part(response: Response, chosen: Outcome, length: int, *, to_the_end: bool) -> Response:
    body = PassingPart(response.body, chosen.start, chosen.count, to_the_end=to_the_end)
    part = Response(206, part_fields(response.headers, chosen, length), body, length=chosen.count)
    part.source, part.raw = response.source, response.raw
    return part


def without_body(
    exchange: Exchange, response: Response, status: int, fields: list[tuple[str, str]], spawn: Spawn | None
) -> Response:
    """Return a response of fields alone, while the body of `response` is read for the store."""
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
        # There is no free thread. The client gets its response, and nothing is stored.
        errorlog.line("error", f'"{exchange.target}" is not stored: {error}', exchange)
        response.close()
    return made


def may_fill(exchange: Exchange, plan: CachePlan, now: float) -> bool:
    """Return True if this request, which may want a part, may fetch the whole response for the store."""
    if not is_conditional(exchange) or has_only_malformed_dates(exchange, now):
        return exchange.method != "HEAD" or plan.convert_head
    if "HTTP_IF_MATCH" in exchange.environ or "HTTP_IF_UNMODIFIED_SINCE" in exchange.environ:
        return False
    if exchange.method == "HEAD":
        return plan.convert_head
    return exchange.method == "GET" and (
        "HTTP_RANGE" not in exchange.environ or wants_whole(exchange, plan.settings.max_range_offset)
    )


def wants_whole(exchange: Exchange, max_offset: int | None) -> bool:
    """Return True if the request's range may be cut from a whole response that is fetched for it.

    It must be one range that begins before proxy_cache_max_range_offset, if that is set; 0 allows none.
    """
    if "HTTP_RANGE" not in exchange.environ:
        return False
    # Judged against an endless body, so that a suffix range begins beyond every offset.
    chosen = part_of([exchange.environ["HTTP_RANGE"]], 1 << 62)
    return chosen.kind == PART and (max_offset is None or chosen.start < max_offset)


class PassingPart:
    """A part of a body. With `to_the_end` the rest of the body is read as well, for a store without a helper."""

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
