"""The locations of one level, made ready for look-ups.

Rules:
- `=` is a dict. Prefixes are sorted: the last that is not greater than the URI, or one of the prefixes it begins with itself, is
  the longest that the URI begins with; so a look-up is a bisection and a few comparisons, whatever their number.
- What nginx answers with a redirect to the name with a slash (a forwarding location asked for without it) is found here as a node
  of its own.
Source: ngx_http_core_find_location, ngx_http_core_find_static_location.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ..variables import take_captures

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from ..config import Location
    from ..exchange import Exchange

_REDIRECTING = frozenset({"proxy_pass"})


class Node:
    """A location and what lies in it. `slash`: it answers with a redirect to itself. `plain`: entering it needs no work."""

    __slots__ = ("location", "plain", "slash", "stops", "table")

    def __init__(self, location: Location, slash: bool = False) -> None:
        self.location = location
        self.slash = slash
        self.stops = location.kind == "^~"
        self.table = LocationTable(location.locations) if location.locations else None
        self.plain = not (slash or location.script or location.guard.internal)


class LocationTable:
    """The locations of one level. `only` is the node when there is nothing but `location /`."""

    __slots__ = ("_exact", "_nodes", "_outer", "_patterns", "_prefixes", "only")

    def __init__(self, locations: Iterable[Location]) -> None:
        prefixes: dict[str, Node] = {}
        slashes: dict[str, Node] = {}
        self._exact: dict[str, Node] = {}
        self._patterns: list[tuple[re.Pattern[str], Node]] = []
        for location in locations:
            node = Node(location)
            pattern = location.pattern
            if location.regex is not None:
                self._patterns.append((location.regex, node))
                continue
            (self._exact if location.kind == "=" else prefixes)[pattern] = node
            if len(pattern) > 1 and pattern.endswith("/") and location.handler in _REDIRECTING:
                slashes[pattern[:-1]] = Node(location, slash=True)
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
        """(the node for a URI, whether the search ends with it); a regular expression that matches leaves its captures in `x`."""
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
    """For each of the sorted prefixes the index of the longest other one that it begins with, -1 for none."""
    outer: list[int] = []
    for at, prefix in enumerate(prefixes):
        before = at - 1
        while before >= 0 and not prefix.startswith(prefixes[before]):
            before = outer[before]
        outer.append(before)
    return outer
