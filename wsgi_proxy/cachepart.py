"""A request's conditions and range, met by an answer that is being fetched whole for the store.

When the client's own conditions stay behind (because what is stored is validated, or proxy_cache_max_range_offset fetches the
whole), the upstream's 200 is for the store, and this client gets of it what it asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .cacheanswer import is_conditional
from .cacheleader import drain
from .errors import TruncatedAnswer
from .exchange import Answer
from .preconditions import (
    NOT_MODIFIED,
    PART,
    UNSATISFIABLE,
    not_modified_fields,
    part_fields,
    part_of,
    select,
    unsatisfiable_fields,
)

if TYPE_CHECKING:
    from .exchange import Exchange

Spawn = Callable[[Callable[[], None]], Any]


def met(x: Exchange, answer: Answer, now: float, spawn: Spawn | None) -> Answer:
    """What of a whole answer that is being stored goes to this client: all, a part (206), or its fields (304, 416)."""
    if answer.status != 200 or not is_conditional(x):
        return answer
    chosen = select(x.method, x.pairs, 200, answer.headers, answer.length, now, now)
    if chosen.kind == PART and answer.length is not None:
        fields = part_fields(answer.headers, chosen, answer.length)
        part = Answer(206, fields, PassingPart(answer.body, chosen.start, chosen.count), length=chosen.count)
        part.source, part.raw = answer.source, answer.raw
        return part
    if chosen.kind == NOT_MODIFIED:
        return without_body(answer, 304, not_modified_fields(answer.headers), spawn)
    if chosen.kind == UNSATISFIABLE and answer.length is not None:
        return without_body(answer, 416, unsatisfiable_fields(answer.headers, answer.length), spawn)
    return answer


def without_body(answer: Answer, status: int, fields: list[tuple[str, str]], spawn: Spawn | None) -> Answer:
    """An answer of fields alone, while the body of ``answer`` is read for the store."""
    made = Answer(status, fields, (), length=answer.length if status == answer.status else None, reason="")
    made.source, made.raw = answer.source, answer.raw
    if status == answer.status:
        made.reason = answer.reason
    if spawn is not None:
        spawn(lambda: drain(answer))
    else:
        drain(answer)
    return made


def wants_whole(x: Exchange, max_offset: int | None) -> bool:
    """Whether a range is to be served from a whole that is fetched for it (proxy_cache_max_range_offset): it is one range
    that begins no later than the offset."""
    if max_offset is None or "HTTP_RANGE" not in x.environ:
        return False
    # As if the body were endless: then a suffix begins at its end, and is passed on.
    chosen = part_of([x.environ["HTTP_RANGE"]], 1 << 62)
    return chosen.kind == PART and chosen.start <= max_offset


class PassingPart:
    """A part of a body that is read to its end all the same."""

    __slots__ = ("_body", "_end", "_start")

    def __init__(self, body: Iterable[bytes], start: int, count: int) -> None:
        self._body = body
        self._start = start
        self._end = start + count

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for block in self._body:
            piece = block[max(0, self._start - at) : max(0, self._end - at)]
            at += len(block)
            if piece:
                yield piece
        if at < self._end:
            raise TruncatedAnswer("the upstream's body is shorter than it announced")

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
