"""The W3C trace context: the field `traceparent` and the identifiers of one request.

Rules:
- A field that is not exactly as the recommendation says is ignored, and a trace begins here.
- Of the flags only the lowest bit, `sampled`, is passed on.
Source: W3C Trace Context, sections 3.2 and 4.3.
"""

from __future__ import annotations

import os
import re

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext:
    """The identifiers of one request, in hexadecimal. `parent` is the client's span, "" if the trace begins here."""

    __slots__ = ("flags", "parent", "sampled", "span", "trace")

    def __init__(self, parent: tuple[str, str, str] | None) -> None:
        self.trace, self.parent, self.flags = parent or (os.urandom(16).hex(), "", "00")
        self.span = os.urandom(8).hex()
        self.sampled = self.flags[1] if self.parent else ""
        """The client's flag, `1` or `0`; "" if the trace begins here."""


def parent_of(field: str) -> tuple[str, str, str] | None:
    """Return (trace, span, flags) of a `traceparent` field, None for an invalid one.

    >>> parent_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', '01')
    """
    match = _TRACEPARENT.fullmatch(field.strip(" \t"))
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    # Of the flags only the lowest bit is defined for version 00 (section 3.2.2.5).
    return trace, span, f"{int(flags, 16) & 1:02x}"
