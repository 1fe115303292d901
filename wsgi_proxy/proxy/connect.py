"""CONNECT: what a location with `tunnel_pass` does (ngx_http_tunnel_module, RFC 9110 9.3.6).

Rules:
- The client gets its 200 when the connection stands, and from then on the bytes of both sides; nothing is read of them.
- Servers of an `upstream` block are chosen, counted and tried one after the other as for `proxy_pass`; any other name is
  resolved, and each of its addresses tried.
- A destination that depends on the request is the client's choice, and judged by `destinations`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..access import destinations
from ..config import ProxySettings
from ..errors import ClientError, Refusal, UpstreamError
from ..exchange import Exchange
from ..logs import errorlog
from ..response import Attempt, Response
from ..transport import Route
from ..tunnel import Dialled, Tunnelled, require_connection

if TYPE_CHECKING:
    from ..config import TunnelSettings
    from ..net import Stream
    from ..upstream import Lease, Pool
    from .forwarding import Targets


class Connected:
    """The upstream's end of a tunnel, and the lease that counts it."""

    __slots__ = ("_dialled", "_lease", "_try", "reply")

    def __init__(self, dialled: Dialled, lease: Lease, attempt: Attempt) -> None:
        self._dialled = dialled
        self._lease = lease
        self._try = attempt
        self.reply: Any = self

    def take_over(self) -> tuple[Stream, bytes]:
        return self._dialled.take_over()

    def close(self) -> None:
        """Close the connection and settle the lease; may be called again."""
        self._dialled.close()
        if not self._lease.settled:
            self._try.response_time = time.time() - self._try.started
        self._lease.settle(False)


class Connector:
    """Opens the tunnels of all locations."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._settings: dict[int, tuple[TunnelSettings, ProxySettings]] = {}

    def response(self, exchange: Exchange) -> Response:
        """200 with the tunnel as its body. ClientError (405) for any other method, UpstreamError when nobody could be reached."""
        tunnel = exchange.location.tunnel
        if exchange.method != "CONNECT" or tunnel.pass_ is None:
            raise ClientError(status=405)
        require_connection(exchange)
        authority = tunnel.pass_(exchange)
        target = self._targets.to(authority)
        exchange.proxy_host, exchange.proxy_port, exchange.upstream_name = target.host, target.port, target.pool.name
        judged = getattr(tunnel.pass_, "constant", None) is None or exchange.location.guard.tunnel_allow_upstream is not None
        return Response(200, [], Tunnelled(self._open(exchange, tunnel, target.pool, judged), "", tunnel.read_timeout))

    def _open(self, exchange: Exchange, tunnel: TunnelSettings, pool: Pool, judged: bool) -> Connected:
        """A connection to one of the pool's servers, as `tunnel_next_upstream` allows."""
        settings = self._dialling(tunnel)
        left = tunnel.next_upstream_tries or pool.tries_limit
        started = time.monotonic()
        source = tunnel.bind(exchange) if tunnel.bind is not None else ""
        while True:
            lease = pool.lease(exchange)
            attempt = Attempt(lease.peer.name)
            exchange.tries.append(attempt)
            left -= 1
            try:
                if judged:
                    destinations.check(exchange, exchange.location.guard, lease.peer.address)
                dialled = Dialled(Route(lease.peer.address, name=lease.peer.name, settings=settings, source=source or None))
            except (UpstreamError, Refusal) as error:
                denied = isinstance(error, Refusal)
                lease.settle(not denied)
                attempt.status, attempt.error = error.status, str(error)
                if not denied:
                    errorlog.line("error", str(error), exchange, lease.peer.name)
                kind = "denied" if denied else getattr(error, "kind", "error")
                limit = tunnel.next_upstream_timeout
                if kind not in tunnel.next_upstream or left <= 0 or (limit and time.monotonic() - started >= limit):
                    raise
                continue
            except BaseException:
                lease.settle(False)
                raise
            attempt.status = 200
            attempt.connect_time = dialled.connect_time
            return Connected(dialled, lease, attempt)

    def _dialling(self, tunnel: TunnelSettings) -> ProxySettings:
        """The settings in the form that routes take them, made once."""
        kept = self._settings.get(id(tunnel))
        if kept is None:
            made = replace(
                ProxySettings(),
                connect_timeout=tunnel.connect_timeout,
                send_timeout=tunnel.send_timeout,
                read_timeout=tunnel.read_timeout,
                socket_keepalive=tunnel.socket_keepalive,
            )
            kept = self._settings[id(tunnel)] = (tunnel, made)
        return kept[1]
