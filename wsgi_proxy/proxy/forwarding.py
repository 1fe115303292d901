"""Where a request is forwarded to, and an upstream's answer on its way to the client.

Rules:
- A Target belongs to one `proxy_pass` and one pool; without variables it is made once.
- An `https` URL that a client of a forward proxy names is fetched by TLS, whatever scheme stands in `proxy_pass`, and the site's
  certificate is verified unless `proxy_ssl_verify off` is said: by `proxy_ssl_trusted_certificate`, else by the system's
  authorities (RFC 9110, section 4.3.4).
- A Forwarded body owns the reply and the lease: closing it gives the connection back and settles the lease, once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..access import is_clients
from ..config import Server, Upstream
from ..errors import ClientError, ConfigError, ProxyError, UpstreamError
from ..http import first, printable
from ..shm import PrivateMemory
from ..transport import Route
from ..upstream import Pool, Resolver
from .pacing import Paced
from .readahead import PATIENCE, ReadAhead

if TYPE_CHECKING:
    from ..balance import Peer
    from ..config import Config, ProxySettings
    from ..exchange import Exchange
    from ..net import Stream
    from ..response import Attempt
    from ..shm import SharedMemory
    from ..transport import Client, Reply, Watched
    from ..upstream import Lease
    from .forwarder import Forwarder
    from .request_body import Upload

DYNAMIC_LIMIT = 1000
"""Pools kept for URLs made of variables; the oldest goes."""


class Target:
    """A pool, how to speak to it, and the path where a `proxy_pass` with variables names one."""

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
        """Whether the client chose the host: then `destinations` says whether it may go there."""
        self.verified = False
        """Whether the client chose https as well: then the certificate is verified where nothing else is said."""
        self._routes: dict[Any, Route] = {}

    def route(self, peer: Peer, settings: ProxySettings) -> Route:
        """How to reach a peer from here."""
        route = self._routes.get(peer)
        if route is None:
            if self.verified and settings.tls.verify is None:
                settings = replace(settings, tls=replace(settings.tls, verify=True))
            route = self._routes[peer] = Route.of(peer, self.scheme, settings, self.limits, self.host)
        return route

    def url(self, peer: Peer) -> str:
        """For the log."""
        return f"{self.scheme}://{peer.name}"


class Targets:
    """The pools of a configuration, by name, and those that variables called for."""

    def __init__(self, config: Config, zone: SharedMemory, pools: Mapping[str, Pool]) -> None:
        core = config.core
        self._resolver = Resolver(core.resolver, core.resolver_valid, core.resolver_timeout)
        made = {name: Pool.from_config(each, zone, resolver=self._resolver) for name, each in config.upstreams.items()}
        self.pools = made | dict(pools)
        self._upstreams = config.upstreams
        self._fixed: dict[int, Target] = {}
        self._dynamic: dict[tuple[int, str], Target] = {}

    def of(self, exchange: Exchange, forwarder: Forwarder) -> Target:
        """The target of a request at a location; ProxyError(500) when variables gave no URL, 502 when its host is unknown."""
        target = self._fixed.get(id(forwarder))
        if target is None:
            target = self._make(exchange, forwarder)
        exchange.proxy_host = target.host
        exchange.proxy_port = target.port
        exchange.upstream_name = target.pool.name
        return target

    def _make(self, exchange: Exchange, forwarder: Forwarder) -> Target:
        pass_ = forwarder.settings.pass_
        if pass_ is None:
            raise ProxyError("a location without proxy_pass was asked to forward")
        if pass_.template is None:
            limits = self._upstreams.get(pass_.upstream)
            target = self._fixed[id(forwarder)] = Target(self.pools[pass_.upstream], pass_.scheme, pass_.host, limits=limits)
            return target
        url = pass_.template(exchange)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ProxyError(f'invalid URL prefix in "{url}"')
        scheme, verified = parts.scheme, False
        if exchange.absolute not in ("", "http") and is_clients(pass_.url):
            if exchange.absolute != "https":
                raise ClientError(f'client asked a forward proxy for the scheme "{exchange.absolute}"')
            scheme, verified = "https", True
        key = (id(forwarder), f"{'verified ' if verified else ''}{scheme}://{parts.netloc}")
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

    def _keep(self, key: tuple[int, str], target: Target) -> Target:
        """Remember a target that variables made; the oldest goes."""
        self._dynamic[key] = target
        if len(self._dynamic) > DYNAMIC_LIMIT:
            del self._dynamic[next(iter(self._dynamic))]
        return target

    def to(self, authority: str) -> Target:
        """The target `host:port` or an upstream block's name, for a tunnel; UpstreamError when the host is unknown."""
        key = (0, authority)
        return self._dynamic.get(key) or self._keep(key, Target(self._pool(authority, "http"), "http", authority))

    def _pool(self, host: str, scheme: str) -> Pool:
        """The upstream block of that name, else a pool of that host's addresses."""
        pool = self.pools.get(host)
        if pool is not None:
            return pool
        address = host if host.rpartition(":")[2].isdigit() else f"{host}:{443 if scheme == 'https' else 80}"
        try:
            # It comes and goes with the requests: nothing for the memory that the workers share.
            return Pool.from_config(Upstream(host, (Server(address, resolve=True),)), PrivateMemory(), resolver=self._resolver)
        except ConfigError as error:
            raise UpstreamError(f"{host} could not be resolved: {error}", sent=False) from error


class Forwarded:
    """An upstream's body: blocks as they come. Closing it settles everything."""

    __slots__ = ("_ahead", "_closed", "_settings", "attempt", "lease", "rate", "reply", "upload")

    def __init__(self, reply: Reply, lease: Lease, attempt: Attempt, upload: Upload | None, settings: ProxySettings) -> None:
        self._settings = settings
        self._ahead: ReadAhead | None = None
        self.reply = reply
        self.lease = lease
        self.attempt = attempt
        self.upload = upload
        self.rate = 0
        """Bytes a second to take from the upstream (proxy_limit_rate, for what is buffered); 0 for no limit."""
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        reply = self.reply
        if reply.body.done and not self.rate or not self._buffered():
            return iter(reply.body)
        settings = self._settings
        number, size = settings.buffers
        source = Paced(reply.body, self.rate) if self.rate else reply.body
        self._ahead = ReadAhead(source, number * size, settings.max_temp_file_size, settings.temp_path, self._let_go)
        return iter(self._ahead)

    def ready(self) -> bool:
        """Whether the first block is at hand."""
        return self.reply.body.ready()

    def attend(self, client: Client | Watched) -> None:
        """Give the rest up when this client leaves."""
        if not self.reply.body.done:
            self.reply.wire.attend(client)

    def at_hand(self) -> bytes | None:
        """The whole body where it came with the head; None while more is to come."""
        return None if self.rate else self.reply.body.at_hand()

    def _buffered(self) -> bool:
        """`proxy_buffering`, which the upstream may decide for its own answer (X-Accel-Buffering)."""
        settings = self._settings
        if self.reply.special and "x-accel-buffering" not in settings.ignore_headers:
            word = (first(self.reply.pairs, "x-accel-buffering") or "").lower()
            if word in ("yes", "no"):
                return word == "yes"
        return settings.buffering

    def _let_go(self) -> None:
        """The upstream has sent everything: its connection and its lease are free, whatever the client still has to read."""
        attempt = self.attempt
        if attempt.response_time is None:
            attempt.response_time = taken = time.time() - attempt.started
            attempt.bytes_received = self.reply.bytes_received
            attempt.response_length = self.reply.body.content_received
            self.lease.settle(False, attempt.header_time, taken)

    @property
    def spliceable(self) -> bool:
        """Whether `send_to` serves better than iterating."""
        return not self.rate and self.reply.spliceable

    def send_to(self, client: Stream) -> int:
        """Move the whole body to a client's stream; gives the bytes moved."""
        if not self._buffered():
            return self.reply.send_to(client)
        sent = self.reply.send_to(client, PATIENCE)
        for block in self:
            client.sendall(block)
            sent += len(block)
        return sent

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._ahead is not None:
                self._ahead.close()
                self._ahead = None  # it knows us, too: no cycle for the collector
            self.reply.close()
        finally:
            self._let_go()
            if self.upload is not None:
                self.upload.close()
