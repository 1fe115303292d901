"""The choice of a server block by listener and Host, and of a location by the normalised URI.

Rules:
- The listener's address chooses the candidates among the server blocks, and `sites` one of them by Host. Under a WSGI server
  whose port no `listen` names, all server blocks are candidates.
- Location: `=`; the longest prefix; unless that is `^~`, regular expressions in order, those nested in the prefix first
  (ngx_http_core_find_location). Without a match the settings of the server block apply.
- Scripts run as in nginx: the server's once for each URI of the client or of a redirect, the location's after each search. One
  request has at most ten changes of its URI.
- The cost does not grow with the number of locations: dicts and one bisection. Only regular expressions are tried one by one, as
  in nginx.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..access import bound_body
from ..errors import ClientError, InvalidLine, MissingHost, ProxyError
from ..http import normalise
from .locations import Node, not_compiled
from .redirects import return_response, slash_redirect
from .rewrite import run
from .sites import ServerNames, Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config, Listen, Location, Return, ServerBlock
    from ..exchange import Exchange
    from ..response import Response

MAX_CHANGES: Final = 10


class Router:
    """The server blocks and locations of one configuration."""

    def __init__(self, config: Config, compile_location: Callable[[ServerBlock, Location], Any] | None = None) -> None:
        """Prepare all server blocks. `compile_location` makes the value for `Exchange.compiled` of each location."""
        self.prefix = config.prefix
        self._groups: dict[str | tuple[str, int], ServerNames] = {}
        self._all = ServerNames()
        for block in config.servers:
            site = Site(block, not_compiled if compile_location is None else partial(compile_location, block))
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
        """Set `server`, `host`, `uri` and `args`. Raises ClientError for an invalid Host or target."""
        group = self._only or self._group(exchange)
        site = _first(group, exchange.connection)
        if site is None:
            raise ProxyError("the configuration has no server", status=404)
        exchange.prefix = self.prefix
        self._use(exchange, site)
        exchange.host = site.name
        target = exchange.target
        if target[:1] == "/":
            # As in nginx the request line is read before Host, by the settings of the first server.
            exchange.uri, exchange.args = normalise(target, site.merge_slashes)
        elif exchange.method != "CONNECT":
            raise InvalidLine("client sent invalid request target")
        raw = exchange.sent("HTTP_HOST")
        if raw is None:
            nameless = group.nameless or group.default
            if nameless is not None and nameless is not site:
                site = nameless
                self._use(exchange, site)
            if exchange.protocol not in ("HTTP/1.0", "HTTP/0.9"):
                raise MissingHost('client sent HTTP/1.1 request without "Host" header')
            exchange.host = site.name
        else:
            found = group.find(raw)
            exchange.host = found.host
            exchange.host_given = True
            if found.site is not site:
                site = found.site
                self._use(exchange, site)
            if found.captures:
                exchange.captures = found.captures
                exchange.variables.update(found.variables)
        if site.underscores:
            exchange.underscored = any("_" in name for name, _ in exchange.pairs)
        if target[:1] != "/" and not site.tunnels:
            raise ClientError("client sent CONNECT where there is no tunnel_pass", status=405)

    def enter_refused(self, exchange: Exchange, error: ProxyError) -> None:
        """Enter the server of a malformed request: that of its host, unless the fault is in the request line or in the host.

        `exchange.host` is the host as sent, "" if a fault precedes it. It becomes `$host`, or the server's name.
        """
        group = self._only or self._group(exchange)
        site = _first(group, exchange.connection)
        raw, exchange.host = exchange.host, ""
        if isinstance(error, MissingHost):
            site = group.nameless or group.default
        elif raw and not isinstance(error, InvalidLine):
            try:
                found = group.find(raw)
                site, exchange.host = found.site, found.host
                exchange.host_given = True
            except ClientError:
                pass  # an invalid host chooses no server
        if site is not None:
            exchange.prefix = self.prefix
            exchange.host = exchange.host or site.name
            if isinstance(error, InvalidLine):
                exchange.uri = ""  # no path was read from the target
            self._use(exchange, site)

    def _use(self, exchange: Exchange, site: Site) -> None:
        exchange.server = site.block
        exchange.site = site
        site.own.enter(exchange)

    def _group(self, exchange: Exchange) -> ServerNames:
        """Return the server blocks of the request's local address; all of them if no `listen` names it."""
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
        """Find the location of a request and run the scripts on the way there.

        Return the response of a script or a redirect, None if the location answers. Raises ProxyError for a request without a
        location.
        """
        if exchange.server is None:
            self.choose_server(exchange)
        site: Site = exchange.site
        if exchange.named_location:
            return self._enter(exchange, site, site.named[exchange.location.pattern])
        if site.script:
            site.own.enter(exchange)
            exchange.relocate = False
            result = run(site.script, exchange)
            if result is not None:
                return _returned(exchange, result)
        node = site.table.only
        if node is None:
            node = site.table.find(exchange.uri, exchange)[0] or site.own
        if node.plain:
            node.enter(exchange)
            return None
        return self._enter(exchange, site, node)

    def _enter(self, exchange: Exchange, site: Site, node: Node) -> Response | None:
        """Enter a location; its script may send the request on to others."""
        while True:
            node.enter(exchange)
            location = node.location
            if location.guard.internal and not exchange.internal:
                raise ClientError(status=404)
            if exchange.content_length and not exchange.named_location:
                # Before any response of the location's script, as in nginx; a chunked body is counted where it is read.
                bound_body(exchange, location.core.client_max_body_size)
            if node.slash:
                return slash_redirect(exchange, location.pattern)
            limits = location.guard.limit_except
            if limits is not None and exchange.method not in limits[0]:
                # In nginx limit_except is a location inside this one, without this one's script.
                if node.excepted is not None:
                    node.excepted.enter(exchange)
                return None
            if not node.script:
                return None
            exchange.relocate = False
            result = run(node.script, exchange)
            if result is not None:
                return _returned(exchange, result)
            if not exchange.relocate:
                return None
            self._count_change(exchange)
            exchange.named_location = False
            node = site.table.find(exchange.uri, exchange)[0] or site.own

    def _count_change(self, exchange: Exchange) -> None:
        exchange.redirects += 1
        if exchange.redirects > MAX_CHANGES:
            raise ProxyError(f'rewrite or internal redirection cycle while processing "{exchange.uri}"')

    # --- internal redirects -----------------------------------------------------------------------------------------------------

    def redirect(self, exchange: Exchange, uri: str, args: str | None = None) -> None:
        """Send the request to another URI of its server, for `route` to continue. Without `args` the query is empty."""
        self._count_change(exchange)
        exchange.uri, exchange.args = uri, args or ""
        exchange.internal = exchange.uri_changed = True
        exchange.named_location = exchange.rewritten_in_place = exchange.behind_alias = False

    def named(self, exchange: Exchange, name: str) -> None:
        """Send the request to a named location; `route` then runs its script."""
        self._count_change(exchange)
        site: Site = exchange.site
        node = site.named.get(name)
        if node is None:
            raise ProxyError(f'could not find named location "{name}"')
        exchange.internal = exchange.named_location = True
        node.enter(exchange)


def _returned(exchange: Exchange, step: Return) -> Response:
    if exchange.trace is not None:
        location = exchange.location
        exchange.why("return", f"{step.status} in {f'{location.kind} {location.pattern}'.strip()}")
    return return_response(exchange, step)


def _first(group: ServerNames, connection: Any) -> Site | None:
    """Return the server block before Host is read: that of the name in the client's hello (SNI), else the default."""
    if connection is not None and connection.tls is not None:
        name = getattr(connection, "sni", None) or getattr(connection.tls, "sni", None)
        if name:
            try:
                return group.find(name).site
            except ClientError:
                pass  # no host name: the default
    return group.default


_ANY: Final = frozenset({"0.0.0.0", "::"})


def _address(listen: Listen) -> str | tuple[str, int]:
    return listen.address
