"""Responses made from stored entries, with Age and Cache-Status.

Rules:
- A response from the store has Age (RFC 9111, section 5.1). Every response that passed the cache has Cache-Status (RFC 9211).
  None has Warning.
- The fields are the upstream's own (`Response.raw`). The location that sends the response rewrites them.
- A body that is not in memory is a part of its open file, so that the worker can send it without reading it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..http import NOT_SATISFIABLE, byteranges, first, parse_date, parse_ranges
from ..response import FileBody, Parts, Response
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
    range_applies,
    select,
    unsatisfiable_fields,
)
from .storage import SUPERBLOCK, BrokenEntry, Entry, Superblock

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .zone import ZoneCache

NAME: Final = "wsgi-proxy"
_WHOLE: Final = Outcome(FULL)
_CONDITIONS: Final = tuple(
    f"HTTP_{name}" for name in "IF_NONE_MATCH IF_MODIFIED_SINCE RANGE IF_MATCH IF_UNMODIFIED_SINCE IF_RANGE".split()
)
_DATES: Final = frozenset({"HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"})
_OF_ONE_BODY: Final = frozenset({"content-type", "content-length", "content-range"})


def hit(exchange: Exchange, zone: ZoneCache, entry: Entry, now: float, word: str = "HIT") -> Response | None:
    """Return the response from an entry and note the hit; None if only the origin can answer, or if the entry's file is gone.

    `word` is the value of $upstream_cache_status.
    """
    response = from_entry(exchange, entry, now, hit_status(entry, now))
    if response is not None:
        exchange.cache_status = word
        zone.touch(entry, now, exchange)
        if exchange.trace is not None:
            exchange.why("cache", f"{word}: stored {now - entry.stored_at:.0f} s ago")
    return response


def hit_status(entry: Entry, now: float) -> str:
    """Return the Cache-Status of a hit; `ttl` is negative if the entry is stale."""
    return f"{NAME}; hit; ttl={int(entry.freshness.left(now) // 1)}"


def forward_status(reason: str, *, status: int = 0, stored: bool = False, collapsed: bool = False, detail: str = "") -> str:
    """Return the Cache-Status of a forwarded request (RFC 9211, section 2)."""
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
    """Return True if the request has a condition or a range."""
    return exchange.asks_cache() and any(exchange.sent(key) is not None for key in _CONDITIONS)


def has_only_malformed_dates(exchange: Exchange, now: float) -> bool:
    """Return True if each condition of the request is a malformed date, to be ignored (RFC 9110, sections 13.1.3, 13.1.4)."""
    for key in _CONDITIONS:
        value = exchange.sent(key)
        if value is not None and (key not in _DATES or parse_date(value.strip(" \t"), now) is not None):
            return False
    return True


def choose(exchange: Exchange, entry: Entry, length: int | None, now: float) -> Outcome:
    """Return the share of an entry with a body of `length` bytes that answers the request's conditions."""
    if exchange.subrequest or not is_conditional(exchange):
        # A subrequest has its client's fields, but the client's conditions are about another response.
        return _WHOLE
    chosen = select(exchange.method, exchange.pairs, entry.status, entry.headers, length, entry.checked_at, now)
    if chosen.kind in (PART, UNSATISFIABLE):
        whole = Response(entry.status, entry.headers)
        whole.source = entry
        return share(exchange, whole, chosen)
    return chosen


def forces_ranges(exchange: Exchange) -> bool:
    """Return True under `proxy_force_ranges`."""
    forwarder = getattr(exchange.compiled, "forwarder", None)
    return forwarder is not None and bool(forwarder.settings.force_ranges)


def share(exchange: Exchange, whole: Response, chosen: Outcome) -> Outcome:
    """Return the chosen part of a response that is stored or on its way into the store, or all of it if it has no parts.

    It has none if a filter of the location changes its length. Unlike nginx, the cache serves parts without an
    Accept-Ranges of the upstream, too: the field tells of the origin's support (RFC 9110, section 14.3), and the cache has the
    whole response.
    """
    if chosen.kind not in (PART, UNSATISFIABLE):
        return chosen
    filters = getattr(exchange.compiled, "filters", None)
    return _WHOLE if filters is not None and filters.whole(exchange, whole) else chosen


def from_entry(exchange: Exchange, entry: Entry, now: float, status: str, *, forced: bool = False) -> Response | None:
    """Return the response from a complete entry; None if only the origin can answer, or if the entry's file is gone.

    Only the origin can evaluate some conditions. With `forced` these are ignored.
    """
    chosen = choose(exchange, entry, entry.body_length, now)
    if chosen.kind == FORWARD:
        if not forced:
            return None
        chosen = _WHOLE
    age = int(now - entry.freshness.born)
    added = [("Age", str(age) if age > 0 else "0"), ("Cache-Status", status)]
    length = entry.body_length
    several: list[tuple[int, int]] = []
    if chosen.kind == FULL and exchange.asks_cache() and "," in (exchange.sent("HTTP_RANGE") or ""):
        chosen, several = _several(exchange, entry, length)
    if several:
        made = _multipart(exchange, entry, several, length, added)
        if made is None:
            return None
        response = made
    elif chosen is _WHOLE or chosen.kind == FULL:
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


def _several(exchange: Exchange, entry: Entry, length: int) -> tuple[Outcome, list[tuple[int, int]]]:
    """Return the share for a request of several ranges: the whole, the one range that remains, 416, or the ranges."""
    location = exchange.location_or_none
    limit = location.guard.max_ranges if location is not None else 0
    if exchange.subrequest or exchange.method != "GET" or entry.status != 200 or limit == 0:
        return _WHOLE, []
    if not range_applies(exchange.pairs, entry.headers):
        return _WHOLE, []
    found = parse_ranges(exchange.environ["HTTP_RANGE"], length, limit)
    if isinstance(found, list):
        start, end = found[0]
        chosen = Outcome(PART, start, end - start)
    elif found == NOT_SATISFIABLE:
        chosen = Outcome(UNSATISFIABLE)
    else:
        return _WHOLE, []
    whole = Response(entry.status, entry.headers)
    whole.source = entry
    if share(exchange, whole, chosen) is _WHOLE:
        return _WHOLE, []
    return chosen, found if isinstance(found, list) and len(found) > 1 else []


def _multipart(exchange: Exchange, entry: Entry, ranges: list[tuple[int, int]], length: int, added: Pairs) -> Response | None:
    """Return a 206 with several parts (RFC 9110, section 14.6); None if the entry's file is gone."""
    body = _body(entry, 0, length)
    if body is None:
        return None
    own = shown = first(entry.headers, "content-type") or ""
    filters = getattr(exchange.compiled, "filters", None)
    if filters is not None:
        whole = Response(entry.status, entry.headers)
        whole.source = entry
        shown = filters.probed(exchange, whole).header("content-type") or ""
    kind, heads, tail, size = byteranges(shown, length, ranges)
    kept = [pair for pair in entry.headers if pair[0].lower() not in _OF_ONE_BODY]
    source: Any = body
    parts = Parts(source.file, heads, tail, source.offset) if isinstance(body, FileBody) else Parts(source[0], heads, tail)
    response = Response(206, [*kept, ("Content-Type", kind), ("Content-Length", str(size)), *added], parts, length=size)
    response.part_type = own
    return response


def _body(entry: Entry, start: int, count: int) -> Iterable[bytes] | None:
    """Return bytes of a stored body; None if its file is gone or belongs to another entry now."""
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
    """Return the response from an entry that is still being written; `body` has the bytes of the share that is `chosen`."""
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
    """Return a 304 for an entry, whose body is not read."""
    age = int(now - entry.freshness.born)
    response = Response(304, [*not_modified_fields(entry.headers), ("Age", str(max(0, age))), ("Cache-Status", status)])
    response.source, response.raw = entry, True
    return response


def gateway_timeout() -> Response:
    """Return the response to `only-if-cached` without a usable entry (RFC 9111, section 5.2.1.7)."""
    return Response(504, [("Content-Length", "0"), ("Cache-Status", f"{NAME}; fwd=miss; detail=only-if-cached")], length=0)
