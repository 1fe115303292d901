"""Selecting a stored variant by Vary (RFC 9111, section 4.1). Pure functions of header pairs.

Rules:
- A *spec* is the tuple of field names in a Vary, in lower case, sorted, without repetitions.
- The *selection* of a request under a spec is the tuple of its normalised values, None for an absent field. Absent and empty
  differ.
- The request is the one that the upstream gets. It may differ from the client's: fields that its Connection lists are not
  forwarded, and the configuration sets others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .fields import Pairs, members

if TYPE_CHECKING:
    from ...exchange import Exchange

Spec = tuple[str, ...]
Selection = tuple[str | None, ...]

# Fields that are lists by definition, and those whose members have no order or case (RFC 9110, section 12.5). Only for these may
# differently spelled values be equal.
_LISTS: Final = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language", "te", "prefer"})
_CASELESS: Final = frozenset({"accept-charset", "accept-encoding", "accept-language"})
_UNORDERED: Final = frozenset({"accept-charset", "accept-encoding"})
_COMMA: Final = re.compile(r"[ \t]*,[ \t,]*")


Sent = Callable[["Exchange", Spec], Pairs]
"""A function that returns the request's fields of a spec as its location forwards them."""


class Forwarded:
    """A request as its location forwards it. Only the fields of a spec are computed."""

    __slots__ = ("_sent", "_x")

    def __init__(self, exchange: Exchange, sent: Sent) -> None:
        self._x = exchange
        self._sent = sent

    def fields(self, spec: Spec) -> Pairs:
        """Return the forwarded fields of a spec."""
        return self._sent(self._x, spec)


Request = Pairs | Forwarded
"""The request of a selection: its pairs, or the request as its location forwards it."""


def spec_of(response: Pairs) -> Spec:
    """Return the names in a response's Vary; () without one. `*` matches nothing and is kept for the caller."""
    return tuple(sorted({name.lower() for name in members(response, "vary")}))


def selection_of(request: Request, spec: Spec) -> Selection:
    """Return the request's values of the fields in the spec."""
    found: dict[str, list[str]] = {}
    for name, value in request.fields(spec) if isinstance(request, Forwarded) else request:
        lowered = name.lower()
        if lowered in spec:
            found.setdefault(lowered, []).append(value)
    return tuple(_normalised(name, found[name]) if name in found else None for name in spec)


def _normalised(name: str, lines: list[str]) -> str:
    value = ", ".join(line.strip(" \t") for line in lines).strip(" \t")
    if name in _CASELESS:
        value = value.lower()
    if name in _LISTS:
        parts = [part for part in _COMMA.split(value.strip(" \t,")) if part]
        value = ",".join(sorted(parts) if name in _UNORDERED else parts)
    return value
