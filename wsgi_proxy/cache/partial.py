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

from ..errors import TruncatedAnswer
from ..exchange import Answer
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


def met(x: Exchange, answer: Answer, now: float, spawn: Spawn | None) -> Answer:
    """What of a whole answer that is being stored goes to this client: all, a part (206), or its fields (304, 416)."""
    if answer.status != 200 or not is_conditional(x):
        return answer
    chosen = select(x.method, x.pairs, 200, answer.headers, answer.length, now, now)
    if chosen.kind == PART and answer.length is not None:
        return _part(answer, chosen, answer.length, to_the_end=spawn is None)
    if chosen.kind == NOT_MODIFIED:
        return without_body(answer, 304, not_modified_fields(answer.headers), spawn)
    if chosen.kind == UNSATISFIABLE and answer.length is not None:
        return without_body(answer, 416, unsatisfiable_fields(answer.headers, answer.length), spawn)
    return answer


def met_alone(x: Exchange, answer: Answer, now: float) -> Answer:
    """What of a whole answer that is not stored goes to this client: its range, or all."""
    if answer.status != 200 or answer.length is None or "HTTP_RANGE" not in x.environ:
        return answer
    chosen = select(x.method, x.pairs, 200, answer.headers, answer.length, now, now)
    if chosen.kind == PART:
        return _part(answer, chosen, answer.length, to_the_end=False)
    if chosen.kind == UNSATISFIABLE:
        made = Answer(416, unsatisfiable_fields(answer.headers, answer.length), length=0)
        made.source, made.raw = answer.source, answer.raw
        answer.close()
        return made
    return answer


def _part(answer: Answer, chosen: Outcome, length: int, *, to_the_end: bool) -> Answer:
    body = PassingPart(answer.body, chosen.start, chosen.count, to_the_end=to_the_end)
    part = Answer(206, part_fields(answer.headers, chosen, length), body, length=chosen.count)
    part.source, part.raw = answer.source, answer.raw
    return part


def without_body(answer: Answer, status: int, fields: list[tuple[str, str]], spawn: Spawn | None) -> Answer:
    """An answer of fields alone, while the body of ``answer`` is read for the store."""
    made = Answer(status, fields, (), length=answer.length if status == answer.status else None, reason="")
    made.source, made.raw = answer.source, answer.raw
    if status == answer.status:
        made.reason = answer.reason
    if spawn is None:
        drain(answer)
        return made
    try:
        spawn(lambda: drain(answer))
    except RuntimeError as error:
        # No thread to be had: this client has all that it asked for, and the store gets nothing.
        logger.error("an answer is not stored: %s", error)
        answer.close()
    return made


def may_fill(x: Exchange, plan: CachePlan) -> bool:
    """Whether the whole answer may be fetched for the store on behalf of this request, which may want less of it."""
    if not is_conditional(x):
        return x.method != "HEAD" or plan.convert_head
    if "HTTP_IF_MATCH" in x.environ or "HTTP_IF_UNMODIFIED_SINCE" in x.environ:
        return False
    if x.method == "HEAD":
        return plan.convert_head
    return x.method == "GET" and ("HTTP_RANGE" not in x.environ or wants_whole(x, plan.settings.max_range_offset))


def wants_whole(x: Exchange, max_offset: int | None) -> bool:
    """Whether the request's range may be served from a whole that is fetched for it: it is one range that begins no later than
    proxy_cache_max_range_offset, if that is set."""
    if "HTTP_RANGE" not in x.environ:
        return False
    # As if the body were endless: then a suffix begins at its end, beyond every offset.
    chosen = part_of([x.environ["HTTP_RANGE"]], 1 << 62)
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
            raise TruncatedAnswer("the upstream's body is shorter than it announced")

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
