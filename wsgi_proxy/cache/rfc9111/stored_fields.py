"""The fields of a stored response: selection, updates by a validation, and validators. Pure functions.

Sources: RFC 9111, sections 3.1 and 3.2 (storing and updating fields), 4.3.1, 4.3.4 and 4.3.5 (validating).
"""

from __future__ import annotations

from typing import Final

from ...http import first, format_date, parse_date
from .fields import Pairs, members, values

# Fields of one connection or one proxy, which are never stored (RFC 9111, section 3.1; RFC 9110, section 7.6.1).
UNSTORED_FIELDS: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def stored_fields(response: Pairs, received_at: float, withheld: frozenset[str] = frozenset()) -> Pairs:
    """Return the fields to store (RFC 9111, section 3.1): none of one connection, and a Date if the origin sent none."""
    unstored = UNSTORED_FIELDS | withheld | {name.lower() for name in members(response, "connection")}
    kept = [pair for pair in response if pair[0].lower() not in unstored]
    dated = first(kept, "date")
    if dated is None or parse_date(dated.strip(" \t"), received_at) is None:
        kept = [pair for pair in kept if pair[0].lower() != "date"]
        kept.append(("Date", format_date(int(received_at))))
    return kept


def freshened(stored: Pairs, update: Pairs, received_at: float) -> Pairs:
    """Return the stored fields after a 304 or a matching response to HEAD (RFC 9111, section 3.2).

    Each field of the update replaces all lines of its name. Content-Length and Content-Range describe the stored body and stay.
    The old Age is dropped.
    """
    fresh = stored_fields(update, received_at)
    kept_names = {"content-length", "content-range"}
    fresh = [pair for pair in fresh if pair[0].lower() not in kept_names]
    replaced = {name.lower() for name, _ in fresh} | {"age"}
    return [pair for pair in stored if pair[0].lower() not in replaced] + fresh


def validators(headers: Pairs) -> Pairs:
    """Return the conditions that validate a stored response (RFC 9111, section 4.3.1); [] if it has no validator."""
    conditions: Pairs = []
    for tag in values(headers, "etag")[:1]:
        conditions.append(("If-None-Match", tag))
    for moment in values(headers, "last-modified")[:1]:
        conditions.append(("If-Modified-Since", moment))
    return conditions


def matches_stored(stored: Pairs, update: Pairs) -> bool:
    """Return True if a 304 belongs to the stored response: the entity tags agree, or without them the modification dates.

    A 304 without validators belongs to the request's conditions (RFC 9111, section 4.3.4).
    """
    for name in ("etag", "last-modified"):
        ours, theirs = first(stored, name), first(update, name)
        if ours is not None and theirs is not None:
            return ours.removeprefix("W/") == theirs.removeprefix("W/")
    return True


def head_matches_stored(stored: Pairs, update: Pairs) -> bool:
    """Return True if a response to HEAD has the stored validators and length, as far as it has any (RFC 9111, section 4.3.5)."""
    return all(first(update, name) in (None, first(stored, name)) for name in ("etag", "last-modified", "content-length"))
