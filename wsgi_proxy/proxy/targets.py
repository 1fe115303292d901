"""Targets: the pool, the scheme and the host that a request is forwarded to.

Rules:
- A Target belongs to one `proxy_pass` and one pool. Without variables in `proxy_pass` it is made at the start.
- An `https` URL that a client of a forward proxy names is fetched over TLS, whatever the scheme in `proxy_pass`. The certificate
  is verified unless `proxy_ssl_verify off` is set: by `proxy_ssl_trusted_certificate`, else by the system's authorities
  (RFC 9110, section 4.3.4).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..access import destinations
from ..config import Server, Upstream
from ..errors import ClientError, ConfigError, ProxyError, UpstreamError
from ..http import file_name, printable
from ..logs import errorlog
from ..net import local_address
from ..shm import PrivateMemory
from ..transport import Route
from ..upstream import Pool, Resolver, Runtime, split, split_port

if TYPE_CHECKING:
    from ..balance import Peer
    from ..config import Config, CoreSettings, ProxyPass, ProxySettings
    from ..exchange import Exchange
    from ..shm import SharedMemory
    from .location import CompiledLocation

DYNAMIC_LIMIT: Final = 1000
"""The most targets kept for URLs made of variables; the oldest one goes first."""
_PREFIX: Final = re.compile("(https?)://", re.IGNORECASE)
_UWSGI: Final = re.compile("(s?uwsgi)://", re.IGNORECASE)


class Target:
    """A pool, the scheme and host to address it by, and the path if a `proxy_pass` with variables names one."""

    __slots__ = ("_routes", "host", "judged", "limits", "path", "pool", "port", "scheme", "transient", "verified")

    def __init__(self, pool: Pool, scheme: str, host: str, path: str = "", limits: Upstream | None = None) -> None:
        self.pool = pool
        self.limits = limits
        """The upstream block, whose `keepalive*` bound the idle connections."""
        self.scheme = scheme
        self.host = host
        self.port = _port(pool, scheme, host)
        """$proxy_port: empty for a unix socket."""
        self.path = path
        self.judged = False
        """True if the client chose the host; `destinations` then decides about each address."""
        self.verified = False
        """True if the client chose https; the certificate is then verified by default."""
        self.transient = False
        """True if no upkeep renews the addresses of the pool, because variables called for it."""
        self._routes: dict[Any, Route] = {}

    def refresh(self) -> None:
        """Resolve the host of a transient target again if its addresses have expired. Raises UpstreamError if none is known."""
        if self.transient and not self.pool.refresh():
            raise UpstreamError(f"{self.host} could not be resolved", sent=False, error_type="dns_error")

    def route(self, exchange: Exchange, peer: Peer, settings: ProxySettings) -> Route:
        """Return the route to a peer, made once, and once for each set of values where the settings have variables."""
        route = self._routes.get(peer)
        if route is None:
            route = self._made(exchange, peer, settings)
        return route

    def _made(self, exchange: Exchange, peer: Peer, settings: ProxySettings) -> Route:
        tls = settings.tls
        source = "" if settings.bind is None else settings.bind(exchange)
        name = None if tls.name is None else tls.name(exchange)
        certificate, certificate_key = _path(tls.certificate, exchange), _path(tls.certificate_key, exchange)
        modified = _modified(certificate) if callable(tls.certificate) and certificate else 0
        key: Any = (peer, source, name, certificate, certificate_key, modified) if _varies(settings) else peer
        route = self._routes.get(key)
        if route is None:
            if source and local_address(source) is None:
                # nginx connects from any address then, and logs it.
                errorlog.line("error", f'invalid local address "{source}"', exchange)
                source = ""
            verify = True if self.verified and tls.verify is None else tls.verify
            tls = replace(tls, verify=verify, certificate=certificate, certificate_key=certificate_key, modified=modified)
            if len(self._routes) >= DYNAMIC_LIMIT:
                self._routes.clear()
            route = Route.of(peer, self.scheme, replace(settings, tls=tls), self.limits, self.host, source=source, name=name)
            self._routes[key] = route
        return route

    def url(self, peer: Peer) -> str:
        """Return the peer's URL for the log."""
        return f"{self.scheme}://{peer.name}"

    def record(self, exchange: Exchange) -> None:
        """Write the target on the exchange, for the variables and the logs."""
        http = self.scheme in ("http", "https")
        exchange.proxy_host = self.host if http else ""
        exchange.proxy_port = self.port if http else ""
        exchange.upstream_name = self.pool.name


def _varies(settings: ProxySettings) -> bool:
    """Return True if the settings of a connection have variables."""
    tls = settings.tls
    templates = (settings.bind, tls.name, tls.certificate, tls.certificate_key)
    return any(callable(each) and getattr(each, "constant", None) is None for each in templates)


def _path(setting: Any, exchange: Exchange) -> str:
    """Return the path of a setting that may be a template."""
    return setting if isinstance(setting, str) else file_name(setting(exchange))


def _modified(path: str) -> int:
    """Return the time of a file's last change in nanoseconds; 0 without the file, which the handshake reports."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _port(pool: Pool, scheme: str, host: str) -> str:
    if pool.name.startswith("unix:"):
        return ""
    name, _, port = host.rpartition(":")
    return port if name and port.isdigit() else ("443" if scheme == "https" else "80")


def _resolver_of(upstream: Upstream | None, core: CoreSettings) -> Resolver:
    """Return the source of addresses for an upstream block, or for the variables of a location with `core`."""
    timeout = core.resolver_timeout
    if upstream is not None and upstream.resolver_timeout is not None:
        timeout = upstream.resolver_timeout
    if upstream is not None and upstream.resolver:
        return Resolver(upstream.resolver, upstream.resolver_valid, timeout, upstream.resolver_families)
    return Resolver(core.resolver, core.resolver_valid, timeout, core.resolver_families)


def _is_judged(exchange: Exchange, pass_: ProxyPass, target: Target) -> bool:
    """Return True if the client chose the host, so that `destinations` decides about each address.

    The addresses of an upstream block are the configuration's, even if the client chose the block.
    """
    if target.limits is not None and target.limits.place.line:
        return False
    return bool(pass_.client_names) and not destinations.is_configured(exchange, pass_.client_names)


class Targets:
    """The pools of a configuration by name, and the targets that variables called for."""

    def __init__(self, config: Config, memory: SharedMemory, pools: Mapping[str, Pool]) -> None:
        made = {
            name: Pool.from_config(each, Runtime(memory, resolver=_resolver_of(each, config.core), sync=each.sync))
            for name, each in config.upstreams.items()
        }
        self.pools = made | dict(pools)
        self._by_name = {name if name.startswith("unix:") else name.lower(): pool for name, pool in self.pools.items()}
        """The pools by the names that variables may have; nginx compares the names of upstreams without regard to case."""
        self._upstreams = config.upstreams
        self._dynamic: dict[tuple[Any, str], Target] = {}
        """The targets that variables called for, by their location (by the resolver for tunnels) and address."""
        self.renews = any(pool.renews for pool in self.pools.values())
        """True if `renew` has something to do."""

    def renew(self) -> None:
        """Start to resolve the names of upstream blocks whose addresses have expired; called once a second."""
        for pool in self.pools.values():
            pool.renew()

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
        if target.transient:
            target.refresh()
        return target

    def _named(self, exchange: Exchange, compiled: CompiledLocation) -> Target:
        """Return the target that the variables of `proxy_pass` name."""
        pass_ = compiled.location.proxy.pass_
        if pass_ is None or pass_.template is None:
            raise ProxyError("a location without proxy_pass was asked to forward")
        url = pass_.template(exchange)
        if compiled.location.proxy.gateway is not None:
            return self._gateway(exchange, compiled, pass_, url)
        found = _PREFIX.match(url)
        if found is None:
            raise ProxyError(f'invalid URL prefix in "{url}"')
        scheme, verified = found[1].lower(), False
        address, uri = split(url[found.end() :])
        if exchange.absolute not in ("", "http") and pass_.client_names:
            if exchange.absolute != "https":
                raise ClientError(f'client asked a forward proxy for the scheme "{exchange.absolute}"')
            scheme, verified = "https", True
        # The name of an upstream block goes into Host as it is written here.
        kept = address if address.startswith("unix:") or address.lower() in self._by_name else address.lower()
        key = (compiled, f"{'verified ' if verified else ''}{scheme}://{kept}")
        base = self._dynamic.get(key)
        if base is None:
            base = self._keep(key, self._addressed(address, scheme, compiled))
            base.judged = _is_judged(exchange, pass_, base)
            base.verified = verified
        if uri is None:
            return base
        path = printable(uri if uri.startswith("/") else "/" + uri)
        target = Target(base.pool, base.scheme, base.host, path, base.limits)
        target._routes = base._routes
        target.judged, target.verified, target.transient = base.judged, base.verified, base.transient
        return target

    def _gateway(self, exchange: Exchange, compiled: CompiledLocation, pass_: ProxyPass, text: str) -> Target:
        """Return the target of an address (`host:port`, `unix:/path`, the name of an upstream block) made of variables."""
        prefix = _UWSGI.match(text) if pass_.scheme == "uwsgi" else None
        scheme = prefix[1].lower() if prefix is not None else pass_.scheme
        address = text[prefix.end() :] if prefix is not None else text
        if not address:
            raise ProxyError(f'no host in upstream "{text}"')
        key = (compiled, f"{scheme}://{address}")
        found = self._dynamic.get(key)
        if found is None:
            found = self._keep(key, self._addressed(address, scheme, compiled))
            found.judged = _is_judged(exchange, pass_, found)
        return found

    def to(self, authority: str, core: CoreSettings) -> Target:
        """Return the target of a tunnel: `host:port` or the name of an upstream block. `core` has the `resolver`.

        Raises UpstreamError for an invalid address.
        """
        resolver = _resolver_of(None, core)
        key = (resolver, authority)
        target = self._dynamic.get(key)
        if target is None:
            try:
                target = self._keep(key, self._target(authority, "http", resolver))
            except ValueError as error:
                raise UpstreamError(str(error), sent=False, error_type="destination_not_found") from error
        return target

    def _addressed(self, address: str, scheme: str, compiled: CompiledLocation) -> Target:
        """Return the target of an address in a location. Raises ProxyError (500) if variables make no address."""
        try:
            return self._target(address, scheme, _resolver_of(None, compiled.location.core))
        except ValueError as error:
            raise ProxyError(str(error).replace(f' in "{address}"', f' in upstream "{address}"')) from error

    def _keep(self, key: tuple[Any, str], target: Target) -> Target:
        self._dynamic[key] = target
        if len(self._dynamic) > DYNAMIC_LIMIT:
            del self._dynamic[next(iter(self._dynamic))]
        return target

    def _target(self, address: str, scheme: str, resolver: Resolver) -> Target:
        """Return the target of an address: the upstream block of that name, else a new pool of the host's addresses.

        Raises ValueError for an invalid address, UpstreamError if the host is unknown.
        """
        name, port = split_port(address)
        default = {"https": 443, "http": 80}.get(scheme)
        unix = name.startswith("unix:")
        place = name if unix else f"{name}:{port or default}"
        pool = self._by_name.get(name.lower()) if port is None and not unix else None
        if pool is None and port is None and default is None and not unix:
            raise ValueError(f'no port in "{address}"')
        pool = pool or self._by_name.get(place if unix else place.lower())
        host = "localhost" if unix else name if port in (None, default) else f"{name}:{port}"
        if pool is not None:
            return Target(pool, scheme, host, limits=self._upstreams.get(pool.name))
        place, host = (place, host) if unix else (place.lower(), host.lower())
        target = Target(self._new_pool(place, resolver), scheme, host)
        target.transient = True
        return target

    def _new_pool(self, place: str, resolver: Resolver) -> Pool:
        """Return a pool of the addresses of `host:port` or `unix:/path`."""
        address = file_name(place)
        try:
            # Such a pool comes and goes with the requests: its counts stay out of shared memory, and no failure is remembered.
            runtime = Runtime(PrivateMemory(), resolver=resolver)
            return Pool.from_config(Upstream(place, (Server(address, resolve=True, max_fails=0),)), runtime)
        except ConfigError as error:
            raise UpstreamError(f"{place} could not be resolved: {error}", sent=False, error_type="dns_error") from error
