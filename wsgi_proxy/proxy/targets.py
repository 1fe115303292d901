"""Targets: the pool, the scheme and the host that a request is forwarded to.

Rules:
- A Target belongs to one `proxy_pass` and one pool. Without variables in `proxy_pass` it is made at the start.
- An `https` URL that a client of a forward proxy names is fetched over TLS, whatever the scheme in `proxy_pass`. The certificate
  is verified unless `proxy_ssl_verify off` is set: by `proxy_ssl_trusted_certificate`, else by the system's authorities
  (RFC 9110, section 4.3.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..access import is_clients
from ..config import Server, Upstream
from ..errors import ClientError, ConfigError, ProxyError, UpstreamError
from ..http import printable
from ..shm import PrivateMemory
from ..transport import Route
from ..upstream import Pool, Resolver

if TYPE_CHECKING:
    from ..balance import Peer
    from ..config import Config, ProxySettings
    from ..exchange import Exchange
    from ..shm import SharedMemory
    from .location import CompiledLocation

DYNAMIC_LIMIT = 1000
"""The most targets kept for URLs made of variables; the oldest one goes first."""


class Target:
    """A pool, the scheme and host to address it by, and the path if a `proxy_pass` with variables names one."""

    __slots__ = ("_routes", "host", "judged", "limits", "path", "pool", "port", "scheme", "verified")

    def __init__(self, pool: Pool, scheme: str, host: str, path: str = "", limits: Upstream | None = None) -> None:
        self.pool = pool
        self.limits = limits
        """The upstream block, whose `keepalive*` bound the idle connections."""
        self.scheme = scheme
        self.host = host
        name, _, port = host.rpartition(":")
        self.port = port if name and port.isdigit() else ("443" if scheme == "https" else "80")
        self.path = path
        self.judged = False
        """True if the client chose the host; `destinations` then decides about each address."""
        self.verified = False
        """True if the client chose https; the certificate is then verified by default."""
        self._routes: dict[Any, Route] = {}

    def route(self, peer: Peer, settings: ProxySettings) -> Route:
        """Return the route to a peer, made once."""
        route = self._routes.get(peer)
        if route is None:
            if self.verified and settings.tls.verify is None:
                settings = replace(settings, tls=replace(settings.tls, verify=True))
            route = self._routes[peer] = Route.of(peer, self.scheme, settings, self.limits, self.host)
        return route

    def url(self, peer: Peer) -> str:
        """Return the peer's URL for the log."""
        return f"{self.scheme}://{peer.name}"

    def record(self, exchange: Exchange) -> None:
        """Write the target on the exchange, for the variables and the logs."""
        exchange.proxy_host = self.host
        exchange.proxy_port = self.port
        exchange.upstream_name = self.pool.name


class Targets:
    """The pools of a configuration by name, and the targets that variables called for."""

    def __init__(self, config: Config, memory: SharedMemory, pools: Mapping[str, Pool]) -> None:
        core = config.core
        self._resolver = Resolver(core.resolver, core.resolver_valid, core.resolver_timeout)
        made = {name: Pool.from_config(each, memory, resolver=self._resolver) for name, each in config.upstreams.items()}
        self.pools = made | dict(pools)
        self._upstreams = config.upstreams
        self._dynamic: dict[tuple[CompiledLocation | None, str], Target] = {}

    def fixed(self, settings: ProxySettings) -> Target | None:
        """Return the target of a `proxy_pass` without variables; None for any other."""
        pass_ = settings.pass_
        if pass_ is None or pass_.template is not None:
            return None
        return Target(self.pools[pass_.upstream], pass_.scheme, pass_.host, limits=self._upstreams.get(pass_.upstream))

    def of(self, exchange: Exchange, compiled: CompiledLocation) -> Target:
        """Return the target of a request in a location, and record it on the exchange.

        Raises ProxyError (500) if variables make no URL, ClientError for a scheme that a forward proxy does not have, and
        UpstreamError if the host is unknown.
        """
        target = compiled.target or self._named(exchange, compiled)
        target.record(exchange)
        return target

    def _named(self, exchange: Exchange, compiled: CompiledLocation) -> Target:
        """Return the target that the variables of `proxy_pass` name."""
        pass_ = compiled.location.proxy.pass_
        if pass_ is None or pass_.template is None:
            raise ProxyError("a location without proxy_pass was asked to forward")
        url = pass_.template(exchange)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ProxyError(f'invalid URL prefix in "{url}"')
        scheme, verified = parts.scheme, False
        if exchange.absolute not in ("", "http") and is_clients(pass_.url):
            if exchange.absolute != "https":
                raise ClientError(f'client asked a forward proxy for the scheme "{exchange.absolute}"')
            scheme, verified = "https", True
        key = (compiled, f"{'verified ' if verified else ''}{scheme}://{parts.netloc}")
        base = self._dynamic.get(key)
        if base is None:
            base = self._keep(key, Target(self._pool(parts.netloc, scheme), scheme, parts.netloc))
            base.judged = is_clients(pass_.url)
            base.verified = verified
        path = printable(url[len(parts.scheme) + 3 + len(parts.netloc) :])
        if not path:
            return base
        target = Target(base.pool, base.scheme, base.host, path if path.startswith("/") else "/" + path)
        target._routes = base._routes
        target.judged, target.verified = base.judged, base.verified
        return target

    def to(self, authority: str) -> Target:
        """Return the target of a tunnel: `host:port` or the name of an upstream block. UpstreamError if the host is unknown."""
        key = (None, authority)
        return self._dynamic.get(key) or self._keep(key, Target(self._pool(authority, "http"), "http", authority))

    def _keep(self, key: tuple[CompiledLocation | None, str], target: Target) -> Target:
        self._dynamic[key] = target
        if len(self._dynamic) > DYNAMIC_LIMIT:
            del self._dynamic[next(iter(self._dynamic))]
        return target

    def _pool(self, host: str, scheme: str) -> Pool:
        """Return the upstream block of that name, else a pool of the host's addresses."""
        pool = self.pools.get(host)
        if pool is not None:
            return pool
        address = host if host.rpartition(":")[2].isdigit() else f"{host}:{443 if scheme == 'https' else 80}"
        try:
            # Such a pool comes and goes with the requests, so its counts stay out of the workers' shared memory.
            return Pool.from_config(Upstream(host, (Server(address, resolve=True),)), PrivateMemory(), resolver=self._resolver)
        except ConfigError as error:
            raise UpstreamError(f"{host} could not be resolved: {error}", sent=False) from error
