"""From a stored entry to the answer that a client gets, with Age and Cache-Status.

Age is always sent with what comes from the store (RFC 9111 section 5.1), Cache-Status (RFC 9211) with everything that passed
the cache, Warning never. The fields are the upstream's own (`Answer.raw`): the location that answers rewrites them. Bodies
that are not in memory are handed out as a piece of their open file, so that the worker can send them without reading them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..response import FileBody, Response
from .rfc9111 import (
    FORWARD,
    FULL,
    NOT_MODIFIED,
    PART,
    UNSATISFIABLE,
    Outcome,
    Pairs,
    not_modified_fields,
    part_fields,
    select,
    unsatisfiable_fields,
)
from .storage import SUPERBLOCK, BrokenEntry, Entry, Superblock

if TYPE_CHECKING:
    from ..exchange import Exchange

NAME: Final = "wsgi-proxy"
_WHOLE: Final = Outcome(FULL)


def hit_status(entry: Entry, now: float) -> str:
    return f"{NAME}; hit; ttl={int(entry.freshness.left(now) // 1)}"


def forward_status(reason: str, *, status: int = 0, stored: bool = False, collapsed: bool = False, detail: str = "") -> str:
    """Why a request went to the upstream, and what became of its answer (RFC 9211 section 2)."""
    text = f"{NAME}; fwd={reason}"
    if status:
        text += f"; fwd-status={status}"
    if stored:
        text += "; stored"
    if collapsed:
        text += "; collapsed"
    if detail:
        text += f"; detail={detail}"
    return text


def is_conditional(exchange: Exchange) -> bool:
    """Whether the request has conditions or ranges."""
    environ = exchange.environ
    return (
        "HTTP_IF_NONE_MATCH" in environ
        or "HTTP_IF_MODIFIED_SINCE" in environ
        or "HTTP_RANGE" in environ
        or "HTTP_IF_MATCH" in environ
        or "HTTP_IF_UNMODIFIED_SINCE" in environ
        or "HTTP_IF_RANGE" in environ
    )


def choose(exchange: Exchange, entry: Entry, length: int | None, now: float) -> Outcome:
    """What of the entry answers this request's conditions."""
    if not is_conditional(exchange):
        return _WHOLE
    return select(exchange.method, exchange.pairs, entry.status, entry.headers, length, entry.checked_at, now)


def from_entry(exchange: Exchange, entry: Entry, now: float, status: str, *, forced: bool = False) -> Response | None:
    """The answer to x from a complete entry.

    None if only the origin can answer its conditions (with ``forced`` they are then passed over), or if the file is gone.
    """
    chosen = choose(exchange, entry, entry.body_length, now)
    if chosen.kind == FORWARD:
        if not forced:
            return None
        chosen = _WHOLE
    age = int(now - entry.freshness.born)
    added = [("Age", str(age) if age > 0 else "0"), ("Cache-Status", status)]
    length = entry.body_length
    if chosen is _WHOLE or chosen.kind == FULL:
        body = () if exchange.method == "HEAD" or not length else _body(entry, 0, length)
        if body is None:
            return None
        response = Response(entry.status, [*entry.headers, *added], body, length=length, reason=entry.reason)
    elif chosen.kind == NOT_MODIFIED:
        response = Response(304, not_modified_fields(entry.headers) + added)
    elif chosen.kind == PART:
        body = _body(entry, chosen.start, chosen.count)
        if body is None:
            return None
        fields = part_fields(entry.headers, chosen, length)
        response = Response(206, fields + added, body, length=chosen.count)
    else:
        response = Response(416, unsatisfiable_fields(entry.headers, length) + added, length=0)
    response.source, response.raw = entry, True
    return response


def _body(entry: Entry, start: int, count: int) -> Iterable[bytes] | None:
    """Bytes of a stored body; None if its file is gone or is not this entry's any more."""
    if entry.body is not None:
        return (entry.body,) if count == len(entry.body) else (entry.body[start : start + count],)
    try:
        file = open(entry.path, "rb", buffering=0)
    except OSError:
        return None
    try:
        same = Superblock.unpack(os.pread(file.fileno(), SUPERBLOCK, 0)).id == entry.id
    except (BrokenEntry, OSError):
        same = False
    if not same:
        file.close()
        return None
    return FileBody(file, entry.body_offset + start, count)


def from_growing(entry: Entry, body: Iterable[bytes], length: int | None, now: float, chosen: Outcome = _WHOLE) -> Response:
    """The answer from an entry that is still being written: the part of it that `chosen` says, whose bytes are in `body`."""
    age = int(now - entry.freshness.born)
    status = f"{NAME}; hit; collapsed; ttl={int(entry.freshness.left(now) // 1)}"
    added: Pairs = [("Age", str(max(0, age))), ("Cache-Status", status)]
    if chosen.kind == PART and length is not None:
        response = Response(206, part_fields(entry.headers, chosen, length) + added, body, length=chosen.count)
    elif chosen.kind == UNSATISFIABLE and length is not None:
        response = Response(416, unsatisfiable_fields(entry.headers, length) + added, length=0)
    else:
        response = Response(entry.status, [*entry.headers, *added], body, length=length, reason=entry.reason)
    response.source, response.raw = entry, True
    return response


def not_modified(entry: Entry, now: float, status: str) -> Response:
    """A 304 for an entry whose body nobody needs to read."""
    age = int(now - entry.freshness.born)
    response = Response(304, [*not_modified_fields(entry.headers), ("Age", str(max(0, age))), ("Cache-Status", status)])
    response.source, response.raw = entry, True
    return response


def gateway_timeout() -> Response:
    """only-if-cached, and nothing usable is (RFC 9111 section 5.2.1.7)."""
    return Response(504, [("Content-Length", "0"), ("Cache-Status", f"{NAME}; fwd=miss; detail=only-if-cached")], length=0)
