"""Which place answers: listener and Host choose the server block, the normalised URI its location.

Rules:
- Server: the exact name, the longest `*.name`, the longest `name.*`, the first regular expression in order, the listener's
  default (ngx_http_find_virtual_server). Under a WSGI server whose port no `listen` names, all server blocks are asked.
- Location: `=`; the longest prefix; unless that is `^~`, regular expressions in order, those nested in the prefix first
  (ngx_http_core_find_location). Nothing found: what the server says itself.
- Scripts run as in nginx: the server's once for each URI that comes or is redirected to, the location's after each search; at
  most ten changes of the URI in one request.
- The cost does not grow with the number of servers and locations: dicts, one bisection, and a memory of the Hosts last seen. Only
  regular expressions are asked one by one, as nginx does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ClientError, ProxyError
from ..http import normalise
from ..variables import HostTable
from .locations import LocationTable, Node
from .redirects import return_response, slash_redirect
from .rewrite import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config import Config, Listen, Location, ServerBlock
    from ..exchange import Exchange
    from ..response import Response

MAX_CHANGES = 10
_HOSTS_KEPT = 1024
# RFC 3986's host, without the comma: under other servers that is how two Host fields look.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~%!$&'()*+;=-]+)(?::\d*)?")


class Site:
    """A server block ready to route."""

    __slots__ = ("block", "merge_slashes", "name", "named", "own", "script", "table", "tunnels")

    def __init__(self, block: ServerBlock) -> None:
        self.block = block
        self.own = Node(block.settings)
        self.script = block.script
        self.table = LocationTable(block.locations)
        self.named = {name: Node(location) for name, location in block.named.items()}
        self.merge_slashes = block.merge_slashes
        self.tunnels = _tunnels((block.settings, *block.locations, *block.named.values()))
        self.name = block.names[0].removeprefix(".") if block.names else ""


def _tunnels(locations: Iterable[Location]) -> bool:
    """Whether a CONNECT may find its place among these."""
    for location in locations:
        inner = [found for instruction in location.script if (found := getattr(instruction, "location", None)) is not None]
        if location.handler == "tunnel_pass" or _tunnels((*location.locations, *inner)):
            return True
    return False


class _Found:
    """What a Host leads to: a server block, $host, and what a regular expression among the names captured."""

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

    __slots__ = ("_known", "_names", "_patterns", "default")

    def __init__(self) -> None:
        self.default: Site | None = None
        self._names: HostTable[Site] = HostTable()
        self._patterns: list[tuple[re.Pattern[str], Site]] = []
        self._known: dict[str, _Found] = {}

    def add(self, site: Site, default: bool) -> None:
        """Take a server block; the first is the default until one says that it is. A name said twice stays the first's."""
        if self.default is None or default:
            self.default = site
        patterns = dict(site.block.name_patterns)
        for name in site.block.names:
            pattern = patterns.get(name)
            if pattern is not None:
                self._patterns.append((pattern, site))
            elif not name.startswith("~"):
                self._names.add(name.lower(), site)

    def find(self, raw: str) -> _Found:
        """What a Host field leads to; ClientError for one that is none (RFC 9110, 7.2)."""
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

    def _find(self, host: str) -> _Found:
        site = self._names.find(host)
        if site is not None:
            return _Found(site, host)
        for pattern, site in self._patterns:
            match = pattern.search(host)
            if match is not None:
                return _Found(site, host, match)
        assert self.default is not None
        return _Found(self.default, host)


class Router:
    """The server blocks and locations of one configuration."""

    def __init__(self, config: Config) -> None:
        self.prefix = config.prefix
        self._sites: dict[int, Site] = {}
        self._groups: dict[str | tuple[str, int], ServerNames] = {}
        self._all = ServerNames()
        for block in config.servers:
            site = self._sites[id(block)] = Site(block)
            self._all.add(site, False)
            for listen in block.listens:
                group = self._groups.setdefault(_address(listen), ServerNames())
                group.add(site, listen.default_server)
        self._only = next(iter(self._groups.values())) if len(self._groups) == 1 else None
        self._by_port: dict[int, ServerNames] = {}
        for address, group in self._groups.items():
            if isinstance(address, tuple):
                self._by_port.setdefault(address[1], group)
        self._specific = {address[1] for address in self._groups if isinstance(address, tuple) and address[0] not in _ANY}

    # --- the server block -----------------------------------------------------------------------------------------------------

    def choose_server(self, exchange: Exchange) -> None:
        """Set `server`, `host`, `uri` and `args`; ClientError for a Host or a target that is none."""
        group = self._only or self._group(exchange)
        site = default = group.default
        if default is None or site is None:
            raise ProxyError("the configuration has no server", status=404)
        exchange.prefix = self.prefix
        exchange.server, exchange.location = site.block, site.block.settings
        raw = exchange.environ.get("HTTP_HOST")
        if raw is None:
            if exchange.protocol not in ("HTTP/1.0", "HTTP/0.9"):
                raise ClientError('client sent HTTP/1.1 request without "Host" header')
            exchange.host = site.name
        else:
            found = group.find(raw)
            site = found.site
            exchange.server, exchange.location, exchange.host = site.block, site.block.settings, found.host
            if found.captures:
                exchange.captures = found.captures
                exchange.variables.update(found.variables)
        target = exchange.target
        if target[:1] == "/":
            # As in nginx the request line is read before the Host: by what the listener's default server says.
            exchange.uri, exchange.args = normalise(target, default.merge_slashes)
        elif exchange.method != "CONNECT":
            raise ClientError("client sent invalid request target")
        elif not site.tunnels:
            raise ClientError("client sent CONNECT where there is no tunnel_pass", status=405)

    def _group(self, exchange: Exchange) -> ServerNames:
        """The server blocks of the address that the request came to; all of them when no `listen` has it."""
        connection = exchange.connection
        groups = self._groups
        if connection is not None:
            address = connection.listener.address
            if isinstance(address, tuple) and address[0] in _ANY and address[1] in self._specific:
                group = groups.get(connection.server_addr[:2])
                if group is not None:
                    return group
            group = groups.get(address)
            if group is not None:
                return group
            host, port = address if isinstance(address, tuple) else ("", 0)
        else:
            sock = exchange.environ.get("gunicorn.socket")
            path = sock.getsockname() if sock is not None else ""
            if isinstance(path, str) and path in groups:
                return groups[path]
            text = str(exchange.environ.get("SERVER_PORT", ""))
            host, port = exchange.environ.get("SERVER_NAME", ""), int(text) if text.isdigit() else 0
        return groups.get((host, port)) or groups.get(("0.0.0.0", port)) or self._by_port.get(port) or self._all

    # --- the location -----------------------------------------------------------------------------------------------------------

    def route(self, exchange: Exchange) -> Response | None:
        """Set everything that says where the request goes, and run the scripts on the way.

        An Answer when a script or a redirect has answered (`source` is the module `pages` when only its status is said); None
        when `x.location` is to answer. ProxyError for what cannot be routed.
        """
        if exchange.server is None:
            self.choose_server(exchange)
        site = self._sites[id(exchange.server)]
        if exchange.named_location:
            return self._enter(exchange, site, site.named[exchange.location.pattern])
        if site.script:
            exchange.location = site.block.settings
            exchange.relocate = False
            result = run(site.script, exchange)
            if result is not None:
                return return_response(exchange, result)
        node = site.table.only
        if node is None:
            node = site.table.find(exchange.uri, exchange)[0] or site.own
        if node.plain:
            exchange.location = node.location
            return None
        return self._enter(exchange, site, node)

    def _enter(self, exchange: Exchange, site: Site, node: Node) -> Response | None:
        """Go into a location; its script may send the request on to others."""
        while True:
            location = exchange.location = node.location
            if location.guard.internal and not exchange.internal:
                raise ClientError(status=404)
            if node.slash:
                return slash_redirect(exchange, location.pattern)
            if not location.script:
                return None
            limits = location.guard.limit_except
            if limits is not None and exchange.method not in limits[0]:
                # For nginx what stands in limit_except is a location of its own, and this one's script is not in it.
                return None
            exchange.relocate = False
            result = run(location.script, exchange)
            if result is not None:
                return return_response(exchange, result)
            if not exchange.relocate:
                return None
            self._count_change(exchange)
            exchange.named_location = False
            node = site.table.find(exchange.uri, exchange)[0] or site.own

    def _count_change(self, exchange: Exchange) -> None:
        exchange.redirects += 1
        if exchange.redirects > MAX_CHANGES:
            raise ProxyError(f'rewrite or internal redirection cycle while processing "{exchange.uri}"')

    # --- redirects within -------------------------------------------------------------------------------------------------------

    def redirect(self, exchange: Exchange, uri: str, args: str | None = None) -> None:
        """Send the request to another URI of its server, where `route` then takes it; without `args` it has none, as in nginx."""
        self._count_change(exchange)
        exchange.uri, exchange.args = uri, args or ""
        exchange.internal = exchange.uri_changed = True
        exchange.named_location = exchange.rewritten_in_place = False

    def named(self, exchange: Exchange, name: str) -> None:
        """Send the request to a named location; `route` then runs its script."""
        self._count_change(exchange)
        node = self._sites[id(exchange.server)].named.get(name)
        if node is None:
            raise ProxyError(f'could not find named location "{name}"')
        exchange.internal = exchange.named_location = True
        exchange.location = node.location


_ANY = frozenset({"0.0.0.0", "::"})


def _address(listen: Listen) -> str | tuple[str, int]:
    return listen.address
