"""The W3C trace context: the field `traceparent` and the identifiers of one request.

Rules:
- A field that is not exactly as the recommendation says is ignored, and a trace begins here.
- `otel_trace` decides once for each request whether its span is exported, in the first location. The field for the upstream has
  this decision in its flag `sampled`; without `otel_trace` it has the client's.
Source: W3C Trace Context, sections 3.2 and 4.3; ngx_otel_module.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import Exchange

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext:
    """The identifiers of one request, in hexadecimal. `parent` is the client's span, "" if the trace begins here."""

    __slots__ = ("flags", "parent", "parent_sampled", "recorded", "span", "trace")

    def __init__(self, parent: tuple[str, str, str] | None) -> None:
        self.trace, self.parent, self.flags = parent or (os.urandom(16).hex(), "", "00")
        self.span = os.urandom(8).hex()
        self.parent_sampled = self.flags[1]
        """The client's flag, `1` or `0`; `0` if the trace begins here."""
        self.recorded = False
        """The request's span is exported."""


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


def context_of(x: Exchange) -> TraceContext:
    """Return the trace context of a request, made once. It continues the client's trace under `extract` and `propagate`."""
    found: TraceContext | None = x.trace_context
    if found is None:
        location = x.location_or_none
        mode = "ignore" if location is None else location.core.trace_context
        parent = parent_of(x.sent("HTTP_TRACEPARENT") or "") if mode in ("extract", "propagate") else None
        found = x.trace_context = TraceContext(parent)
    return found


def begin(x: Exchange) -> None:
    """Decide by `otel_trace` whether the request's span is exported. Called once the location is known."""
    wanted = x.location.core.trace
    recorded = wanted is not None and wanted(x) in ("on", "1")
    if recorded or x.location.core.trace_context != "ignore":
        context = context_of(x)
        context.recorded = recorded
        context.flags = "01" if recorded else "00"


def identifier(x: Exchange, name: str) -> str | None:
    """Return an identifier of the trace context, None if there is none."""
    return getattr(context_of(x), name) or None


def traceparent(x: Exchange) -> str:
    """Return the `traceparent` field for the upstream."""
    found = context_of(x)
    return f"00-{found.trace}-{found.span}-{found.flags}"


def tracestate(x: Exchange) -> str:
    """Return the `tracestate` field for the upstream: the client's, if its trace continues."""
    return x.sent("HTTP_TRACESTATE") or "" if context_of(x).parent else ""
