"""The locations of one level, prepared for look-ups.

Rules:
- Exact locations are in a dict. Prefixes are sorted: the longest prefix of the URI is the last one that is not greater than the
  URI, or a prefix of that one. A look-up is therefore a bisection and a few comparisons, whatever their number.
- nginx redirects a request for a forwarding location without its last slash. Such a name is a separate node.
Source: ngx_http_core_find_location, ngx_http_core_find_static_location.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from ..config import FORWARDING
from ..variables import take_captures
from .rewrite import Step, compile_script

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    from ..config import Location
    from ..exchange import Exchange


def not_compiled(location: Location) -> Any:
    """Return None: the router also works for callers that compile no locations."""
    return None


class Node:
    """A location, its compiled form and the locations in it. `slash`: the location answers with a redirect to itself."""

    __slots__ = ("compiled", "excepted", "location", "plain", "script", "slash", "stops", "table")

    def __init__(
        self,
        location: Location,
        compiled: Any,
        script: tuple[Step, ...] = (),
        table: LocationTable | None = None,
        *,
        slash: bool = False,
        excepted: Node | None = None,
    ) -> None:
        self.location = location
        self.compiled = compiled
        self.script = script
        self.table = table
        self.slash = slash
        self.excepted = excepted
        """The node for methods that `limit_except` does not name, if that block has settings of other kinds than access."""
        self.stops = location.kind == "^~"
        self.plain = not (slash or script or excepted or location.guard.internal)
        """Entering the location needs no work."""

    def enter(self, exchange: Exchange) -> None:
        """Make this the location of a request."""
        exchange.location = self.location
        exchange.compiled = self.compiled


def make_node(location: Location, compile_location: Callable[[Location], Any] = not_compiled) -> Node:
    """Return the node of a location. `compile_location` makes the value for `Exchange.compiled`."""
    table = LocationTable(location.locations, compile_location) if location.locations else None
    excepted = None if location.excepted is None else make_node(location.excepted, compile_location)
    script = compile_script(location.script, compile_location)
    return Node(location, compile_location(location), script, table, excepted=excepted)


class LocationTable:
    """The locations of one level. `only` is the node of `location /` if there is no other, else None."""

    __slots__ = ("_exact", "_nodes", "_outer", "_patterns", "_prefixes", "only")

    def __init__(self, locations: Iterable[Location], compile_location: Callable[[Location], Any] = not_compiled) -> None:
        prefixes: dict[str, Node] = {}
        slashes: dict[str, Node] = {}
        self._exact: dict[str, Node] = {}
        self._patterns: list[tuple[re.Pattern[str], Node]] = []
        for location in locations:
            node = make_node(location, compile_location)
            pattern = location.pattern
            if location.regex is not None:
                self._patterns.append((location.regex, node))
                continue
            (self._exact if location.kind == "=" else prefixes)[pattern] = node
            if len(pattern) > 1 and pattern.endswith("/") and location.handler in FORWARDING:
                slashes[pattern[:-1]] = Node(location, node.compiled, slash=True)
        for uri, node in slashes.items():
            if uri not in prefixes:
                self._exact.setdefault(uri, node)
        self._prefixes = sorted(prefixes)
        self._nodes = [prefixes[prefix] for prefix in self._prefixes]
        self._outer = _outer(self._prefixes)
        alone = len(prefixes) == 1 and not (self._exact or self._patterns)
        root = prefixes.get("/")
        self.only = root if alone and root is not None and root.table is None else None

    def find(self, uri: str, exchange: Exchange) -> tuple[Node | None, bool]:
        """Return (the node for a URI, True if the search ends with it). A regular expression that matches sets the captures."""
        node = self._exact.get(uri)
        if node is not None:
            return node, True
        node = self._longest(uri)
        stops = False
        if node is not None:
            stops = node.stops
            if node.table is not None:
                inner, final = node.table.find(uri, exchange)
                if inner is not None:
                    node = inner
                if final:
                    return node, True
        if not stops:
            for pattern, found in self._patterns:
                match = pattern.search(uri)
                if match is not None:
                    take_captures(exchange, match)
                    if found.table is not None:
                        found = found.table.find(uri, exchange)[0] or found
                    return found, True
        return node, False

    def _longest(self, uri: str) -> Node | None:
        at = bisect_right(self._prefixes, uri) - 1
        while at >= 0:
            if uri.startswith(self._prefixes[at]):
                return self._nodes[at]
            at = self._outer[at]
        return None


def _outer(prefixes: list[str]) -> list[int]:
    """Return for each of the sorted prefixes the index of its longest proper prefix among them, -1 for none."""
    outer: list[int] = []
    for at, prefix in enumerate(prefixes):
        before = at - 1
        while before >= 0 and not prefix.startswith(prefixes[before]):
            before = outer[before]
        outer.append(before)
    return outer
