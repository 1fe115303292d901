"""The route from a location to a peer, and the idle connections kept for it.

Rules (ngx_http_upstream_module, keepalive):
- A Route is made once per location and peer, so that a request computes none of it.
- Routes with the same address and connection settings share their idle connections (`Idle`). All routes of an upstream share its
  limit (`KeepaliveGroup`), per worker, as in nginx.
- The newest idle connection is reused first. The oldest is closed when the limit is exceeded.
- A readable idle connection is closed: neither data nor an end can belong to a request.
"""

from __future__ import annotations

from _thread import RLock
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from ..clocks import monotonic
from ..config import ProxySettings, Upstream, UpstreamTLS
from ..gateway import Gateway, gateway_of
from ..http import bare_host

if TYPE_CHECKING:
    from ..net import Address
    from .wire import Wire

FOREVER: Final = 10.0 * 365 * 86400
"""Seconds that stand for a timeout of 0. Sockets stay non-blocking, which a wait on both directions needs."""
_KEPT: Final = 1024
HEAD_LIMIT: Final = 64 * 1024
"""The largest response head in bytes, unless `proxy_buffer_size` is larger."""


class KeepaliveGroup:
    """The idle connections of one upstream, oldest first, and their limits. Times are in seconds."""

    __slots__ = ("keepalive", "lifetime", "lock", "order", "requests", "timeout")

    def __init__(self, upstream: Upstream | None = None) -> None:
        limits = upstream or Upstream("", ())
        self.keepalive = limits.keepalive
        if self.keepalive == Upstream.keepalive:
            # With nginx's default and more servers than that, nearly every request would open a connection.
            self.keepalive = max(self.keepalive, len(limits.servers))
        self.requests = limits.keepalive_requests
        self.lifetime = limits.keepalive_time
        self.timeout = limits.keepalive_timeout
        # A native lock, which gevent does not replace. No holder waits.
        self.lock = RLock()
        self.order: dict[Wire, None] = {}

    def sweep(self, now: float) -> None:
        """Close the connections that have been idle for too long at `now`, in monotonic seconds."""
        with self.lock:
            late = [wire for wire in self.order if now - wire.idle_since > self.timeout]
            for wire in late:
                wire.idle.drop(wire)


class Idle:
    """The idle connections to one address, newest last."""

    __slots__ = ("group", "stack")

    def __init__(self, group: KeepaliveGroup) -> None:
        self.group = group
        self.stack: list[Wire] = []

    def take(self, now: float) -> Wire | None:
        """Remove and return the newest usable connection; None if there is none."""
        group = self.group
        while self.stack:
            with group.lock:
                if not self.stack:
                    return None
                wire = self.stack.pop()
                del group.order[wire]
                wire.pooled = False
            stale = now - wire.idle_since > group.timeout or now - wire.opened > group.lifetime
            if not stale and not wire.stream.stirred():
                return wire
            wire.close()
        return None

    def give(self, wire: Wire) -> None:
        """Keep a connection after a complete exchange. Close the oldest one if the limit is exceeded."""
        group = self.group
        now = monotonic()
        if wire.uses >= group.requests or not group.keepalive or now - wire.opened > group.lifetime or wire.abandoned:
            # Abandoned: the client left after the last bytes of the response had arrived, and the stream is shut down.
            wire.close()
            return
        wire.idle_since = now
        wire.client = wire.watched = None
        with group.lock:
            self.stack.append(wire)
            group.order[wire] = None
            wire.pooled = True
            if len(group.order) > group.keepalive:
                oldest = next(iter(group.order))
                oldest.idle.drop(oldest)

    def drop(self, wire: Wire) -> None:
        """Remove and close an idle connection."""
        with self.group.lock:
            if wire.pooled:
                wire.pooled = False
                self.stack.remove(wire)
                del self.group.order[wire]
        wire.close()


class Route:
    """An address with its protocol and timeouts, in seconds.

    `tls` is None for plain HTTP. `server_name` is the name in the certificate and in SNI. `source` is the local address to
    connect from. `limits` is the upstream with the `keepalive` settings; the routes of one upstream share them by its name.
    """

    __slots__ = (
        "address",
        "connect_timeout",
        "gateway",
        "head_limit",
        "idle",
        "keep",
        "key",
        "limits",
        "name",
        "read_timeout",
        "send_timeout",
        "server_name",
        "socket_keepalive",
        "source",
        "stream_timeout",
        "tls",
        "url",
    )

    def __init__(
        self,
        address: Address,
        *,
        name: str = "",
        tls: UpstreamTLS | None = None,
        server_name: str = "",
        settings: ProxySettings | None = None,
        source: str | None = None,
        limits: Upstream | None = None,
    ) -> None:
        settings = settings or ProxySettings()
        self.address = address
        self.name = name or (address if isinstance(address, str) else f"{address[0]}:{address[1]}")
        self.tls = tls
        self.server_name = server_name
        self.source = source
        self.connect_timeout = settings.connect_timeout or FOREVER
        self.send_timeout = settings.send_timeout or FOREVER
        self.read_timeout = settings.read_timeout or FOREVER
        """Seconds to wait for the response head."""
        streams = settings.stream_timeout
        self.stream_timeout = self.read_timeout if streams is None else streams or FOREVER
        """Seconds between two reads of the body."""
        self.socket_keepalive = settings.socket_keepalive
        self.head_limit = max(settings.buffer_size, HEAD_LIMIT)
        self.gateway: Gateway | None = None if settings.gateway is None else gateway_of(settings.gateway)
        """The protocol; None for HTTP."""
        self.keep = settings.http_version != "1.0" if self.gateway is None else self.gateway.keeps
        self.limits = limits
        protocol = "" if self.gateway is None else self.gateway.name
        self.key: Hashable = (address, source, self.socket_keepalive, tls, server_name if tls else "", protocol)
        self.url = "https://" if tls else "http://"
        """The part of a URL by which the session chooses the adapter."""
        self.idle: Idle | None = None
        """The idle connections. The transport sets it at the first request."""

    @classmethod
    def of(
        cls,
        peer: Any,
        scheme: str,
        settings: ProxySettings,
        limits: Upstream | None = None,
        host: str = "",
        *,
        source: str = "",
        name: str | None = None,
    ) -> Route:
        """Return the route to a Peer from a location.

        `source` is the value of `proxy_bind`, `name` that of `proxy_ssl_name`. `host` is the location's `$proxy_host`, the
        default of the latter.
        """
        tls = settings.tls if (peer.scheme or scheme) in ("https", "suwsgi") else None
        if tls is None:
            name = ""
        elif name is None:
            name = ("" if tls.by_server else host) or peer.host
        return cls(
            peer.address,
            name=peer.name,
            tls=tls,
            server_name=bare_host(name),
            settings=settings,
            source=source or None,
            limits=limits,
        )


class Idles:
    """Every Idle of a transport, by the key of its routes.

    Variables in `proxy_pass` can create any number of addresses. Beyond `_KEPT`, an Idle without connections is dropped. A route
    that still refers to it continues to use it, but other routes no longer find it.
    """

    def __init__(self) -> None:
        self._groups: dict[str, KeepaliveGroup] = {}
        self._idles: dict[Hashable, Idle] = {}

    def of(self, route: Route) -> Idle:
        """Return the idle connections of a route."""
        limits = route.limits
        name = limits.name if limits is not None else ""
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = KeepaliveGroup(limits)
        idle = self._idles.get((name, route.key))
        if idle is None:
            if len(self._idles) >= _KEPT:
                self._idles = {key: each for key, each in self._idles.items() if each.stack}
            idle = self._idles[name, route.key] = Idle(group)
        return idle

    def sweep(self, now: float) -> None:
        """Close the connections that have been idle for too long."""
        for group in list(self._groups.values()):
            group.sweep(now)

    def close(self) -> None:
        """Close every idle connection."""
        for group in list(self._groups.values()):
            for wire in list(group.order):
                wire.idle.drop(wire)

    def __len__(self) -> int:
        return sum(len(group.order) for group in self._groups.values())
