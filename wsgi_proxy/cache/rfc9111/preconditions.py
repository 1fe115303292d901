"""A request's conditions and ranges, applied to a stored response (RFC 9110, sections 13 and 14; RFC 9111, section 4.3.2).

Pure functions of header pairs. `select` returns the share of a stored 200 to send: all of it, its fields alone (304), a part
(206) or nothing (416). It returns FORWARD if only the origin can answer: the stored response may be older than the origin's, so
the cache never sends 412.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ...http import first, parse_date
from .fields import Pairs, members, values

FULL: Final = "full"
NOT_MODIFIED: Final = "not-modified"
PART: Final = "part"
UNSATISFIABLE: Final = "unsatisfiable"
FORWARD: Final = "forward"

# The request fields that `select` evaluates.
CONDITIONAL_FIELDS: Final = frozenset(
    {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"}
)
_RANGE: Final = re.compile(r"bytes=[ \t,]*(\d*)-(\d*)[ \t,]*", re.IGNORECASE | re.ASCII)
# Fields that describe a body. A 304 has none (RFC 9110, section 15.4.5).
_OF_THE_BODY: Final = frozenset(
    {"content-encoding", "content-language", "content-length", "content-range", "content-type", "accept-ranges"}
)


@dataclass(frozen=True)
class Outcome:
    """The share to send. `kind` is one of the words above; a part has `count` bytes from offset `start`."""

    kind: str
    start: int = 0
    count: int = 0


_FULL: Final = Outcome(FULL)


def select(
    method: str, request: Pairs, status: int, stored: Pairs, length: int | None, received_at: float, now: float
) -> Outcome:
    """Return the share of a stored response that the request's conditions select, in the order of RFC 9110, section 13.2.2.

    `length` is the stored body's in bytes; while it is unknown (None), no part is selected. `received_at` replaces a missing
    Last-Modified and Date.
    """
    if status != 200:
        return _FULL
    present = {name.lower() for name, _ in request} & CONDITIONAL_FIELDS
    if not present:
        return _FULL
    if not _origin_conditions_hold(request, present, stored, now):
        return Outcome(FORWARD)
    if "if-none-match" in present:
        if _any_tag_matches(members(request, "if-none-match"), stored):
            return Outcome(NOT_MODIFIED)
    elif "if-modified-since" in present and _unmodified_since(request, stored, received_at, now):
        return Outcome(NOT_MODIFIED)
    if "range" in present and method == "GET" and length is not None and range_applies(request, stored):
        return part_of(values(request, "range"), length)
    return _FULL


def part_of(ranges: list[str], length: int) -> Outcome:
    """Return the outcome of one byte range of a body (RFC 9110, section 14.1.2); FULL for several or malformed ranges."""
    match = _RANGE.fullmatch(ranges[0].strip(" \t")) if len(ranges) == 1 else None
    if match is None:
        return _FULL
    begin, last = match.groups()
    if begin:
        start, end = int(begin), min(int(last), length - 1) if last else length - 1
        if last and int(last) < start:
            return _FULL
        return Outcome(PART, start, end - start + 1) if start < length else Outcome(UNSATISFIABLE)
    if not last:
        return _FULL
    count = min(int(last), length)
    return Outcome(PART, length - count, count) if count else Outcome(UNSATISFIABLE)


def _origin_conditions_hold(request: Pairs, present: set[str], stored: Pairs, now: float) -> bool:
    tag = first(stored, "etag")
    if "if-match" in present:
        wanted = members(request, "if-match")
        strong = tag is not None and not tag.startswith("W/")
        return "*" in wanted or (strong and tag in wanted)
    if "if-unmodified-since" in present:
        limit = parse_date(values(request, "if-unmodified-since")[0].strip(" \t"), now)
        changed = _first_moment(stored, "last-modified", now)
        return limit is None or (changed is not None and changed <= limit)
    return True


def _any_tag_matches(wanted: list[str], stored: Pairs) -> bool:
    if "*" in wanted:
        return True
    tag = first(stored, "etag")
    if tag is None:
        return False
    return tag.removeprefix("W/") in {each.removeprefix("W/") for each in wanted}


def _unmodified_since(request: Pairs, stored: Pairs, received_at: float, now: float) -> bool:
    """Compare If-Modified-Since with Last-Modified, else Date, else the time of receipt (RFC 9111, section 4.3.2)."""
    since = parse_date(values(request, "if-modified-since")[0].strip(" \t"), now)
    if since is None:
        return False
    changed = _first_moment(stored, "last-modified", now)
    if changed is None:
        changed = _first_moment(stored, "date", now)
    return (received_at if changed is None else changed) <= since


def range_applies(request: Pairs, stored: Pairs) -> bool:
    """Return True if If-Range is a matching strong tag or the date of the last change (RFC 9110, section 13.1.5)."""
    condition = first(request, "if-range")
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == first(stored, "etag")
    return not condition.startswith("W/") and condition == first(stored, "last-modified")


def _first_moment(headers: Pairs, name: str, now: float) -> float | None:
    text = first(headers, name)
    return None if text is None else parse_date(text, now)


def not_modified_fields(stored: Pairs) -> Pairs:
    """Return the fields of a 304: all but those that describe the body."""
    return [pair for pair in stored if pair[0].lower() not in _OF_THE_BODY]


def part_fields(stored: Pairs, selection: Outcome, length: int) -> Pairs:
    """Return the fields of a 206 with one part."""
    kept = [pair for pair in stored if pair[0].lower() not in {"content-length", "content-range"}]
    kept.append(("Content-Range", f"bytes {selection.start}-{selection.start + selection.count - 1}/{length}"))
    kept.append(("Content-Length", str(selection.count)))
    return kept


def unsatisfiable_fields(stored: Pairs, length: int) -> Pairs:
    """Return the fields of a 416."""
    kept = [pair for pair in stored if pair[0].lower() in {"date", "etag", "last-modified", "vary", "accept-ranges"}]
    return [*kept, ("Content-Range", f"bytes */{length}"), ("Content-Length", "0")]
