"""Which stored variant fits a request: Vary (RFC 9111 section 4.1), as pure functions over header pairs.

A *spec* is the tuple of field names that a Vary names, in lower case, sorted, once each. A request's *selection* under
a spec is the tuple of its normalised values, None where it does not have the field: absent and empty are different.

The request is the one that the upstream gets. What the client sent may differ from it: fields that its Connection lists stay
behind, and the configuration sets others.
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

# Fields that are lists by definition, and those whose members have no order or case (RFC 9110 section 12.5): only for
# these may values that are spelled differently count as the same.
_LISTS: Final = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language", "te", "prefer"})
_CASELESS: Final = frozenset({"accept-charset", "accept-encoding", "accept-language"})
_UNORDERED: Final = frozenset({"accept-charset", "accept-encoding"})
_COMMA: Final = re.compile(r"[ \t]*,[ \t,]*")


Sent = Callable[["Exchange", Spec], Pairs]
"""The fields with the names of a spec, as a location forwards them."""


class Forwarded:
    """A request as its location forwards it; only the fields that a spec names are worked out."""

    __slots__ = ("_sent", "_x")

    def __init__(self, exchange: Exchange, sent: Sent) -> None:
        self._x = exchange
        self._sent = sent

    def fields(self, spec: Spec) -> Pairs:
        return self._sent(self._x, spec)


Request = Pairs | Forwarded
"""The request that a selection is made of: as pairs, or as what a location forwards."""


def spec_of(response: Pairs) -> Spec:
    """The names in an answer's Vary; empty without one. A `*` among them matches nothing and is kept for the caller."""
    return tuple(sorted({name.lower() for name in members(response, "vary")}))


def selection_of(request: Request, spec: Spec) -> Selection:
    """What the request has in the fields that the spec names."""
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
