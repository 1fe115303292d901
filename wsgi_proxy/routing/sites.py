"""The server blocks of a listening address, and the choice of one of them by the Host field.

Rules:
- The exact name, the longest `*.name`, the longest `name.*`, the first regular expression in order, the listener's default
  (ngx_http_find_virtual_server).
- The cost does not grow with the number of servers: dicts, and a memory of recent Hosts. Only regular expressions are tried one
  by one, as in nginx.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import ClientError
from ..variables import HostTable
from .locations import LocationTable, make_node, not_compiled
from .rewrite import Step, compile_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..config import Location, ServerBlock

_HOSTS_KEPT: Final = 1024
# The host of RFC 3986 without the comma, by which other servers join two Host fields.
_LITERAL = r"\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[0-9A-Za-z._~!$&'()*+,;=:-]+)\]"
_HOST: Final = re.compile(rf"({_LITERAL}|[0-9A-Za-z._~%!$&'()*+;=-]+)(?::\d*)?")


class Site:
    """A server block prepared for routing. `own` is the node of its settings outside any location."""

    __slots__ = ("block", "merge_slashes", "name", "named", "own", "script", "table", "tunnels", "underscores")

    def __init__(self, block: ServerBlock, compile_location: Callable[[Location], Any] = not_compiled) -> None:
        self.block = block
        self.own = make_node(block.settings, compile_location)
        self.script: tuple[Step, ...] = compile_script(block.script, compile_location)
        self.table = LocationTable(block.locations, compile_location)
        self.named = {name: make_node(location, compile_location) for name, location in block.named.items()}
        self.merge_slashes = block.merge_slashes
        self.tunnels = _tunnels((block.settings, *block.locations, *block.named.values()))
        self.underscores = block.underscores_in_headers or not block.ignore_invalid_headers
        self.name = block.names[0].removeprefix(".") if block.names else ""


def _tunnels(locations: Iterable[Location]) -> bool:
    """Return True if one of these locations or of those inside them opens tunnels."""
    for location in locations:
        inner = [found for instruction in location.script if (found := getattr(instruction, "location", None)) is not None]
        if location.handler == "tunnel_pass" or _tunnels((*location.locations, *inner)):
            return True
    return False


class Found:
    """The result for one Host: a server block, $host, and the captures of a regular expression among the names."""

    __slots__ = ("captures", "host", "site", "variables")

    def __init__(self, site: Site, host: str, match: re.Match[str] | None = None) -> None:
        self.site = site
        self.host = host
        self.captures: tuple[str | None, ...] = ()
        self.variables: dict[str, str] = {}
        if match is not None:
            self.captures = (match[0], *match.groups())
            self.variables = {name.lower(): value or "" for name, value in match.groupdict().items()}


class ServerNames:
    """The server blocks of one listening address."""

    __slots__ = ("_known", "_names", "_patterns", "default", "nameless")

    def __init__(self) -> None:
        self.default: Site | None = None
        self.nameless: Site | None = None
        """The first server block with the empty name, for requests without Host."""
        self._names: HostTable[Site] = HostTable()
        self._patterns: list[tuple[re.Pattern[str], Site]] = []
        self._known: dict[str, Found] = {}

    def add(self, site: Site, default: bool) -> None:
        """Add a server block. The first one is the default until another says so; a repeated name stays with the first."""
        if self.default is None or default:
            self.default = site
        patterns = dict(site.block.name_patterns)
        for name in site.block.names:
            pattern = patterns.get(name)
            if pattern is not None:
                self._patterns.append((pattern, site))
            elif not name:
                self.nameless = self.nameless or site
            elif not name.startswith("~"):
                self._names.add(name.lower(), site)

    def find(self, raw: str) -> Found:
        """Return the result for a Host field. Raises ClientError for an invalid one (RFC 9110, section 7.2)."""
        found = self._known.get(raw)
        if found is None:
            match = _HOST.fullmatch(raw)
            host = match[1].lower().removesuffix(".") if match else ""
            if not host or ".." in raw:
                raise ClientError("client sent invalid host header")
            found = self._find(host)
            if len(self._known) >= _HOSTS_KEPT:
                self._known.clear()
            self._known[raw] = found
        return found

    def _find(self, host: str) -> Found:
        site = self._names.find(host)
        if site is not None:
            return Found(site, host)
        for pattern, site in self._patterns:
            match = pattern.search(host)
            if match is not None:
                return Found(site, host, match)
        assert self.default is not None
        return Found(self.default, host)
