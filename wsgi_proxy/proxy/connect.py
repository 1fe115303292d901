"""CONNECT: opens the tunnels of locations with `tunnel_pass` (ngx_http_tunnel_module; RFC 9110, section 9.3.6).

Rules:
- The client gets 200 when the connection to the upstream is established. From then on bytes pass both ways unread.
- The servers of an `upstream` block are chosen, counted and tried one after the other as for `proxy_pass`. Any other name is
  resolved, and each of its addresses tried.
- A destination that depends on the request is the client's choice, and `destinations` decides about it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..access import destinations
from ..config import ProxySettings
from ..errors import ClientError
from ..response import Response
from ..transport import Route
from ..tunnel import Dialled, Tunnelled, require_connection
from .attempts import Attempts, Retries, count_end

if TYPE_CHECKING:
    from ..config import TunnelSettings
    from ..exchange import Exchange
    from ..net import Stream
    from ..response import Attempt
    from ..upstream import Lease, Pool
    from .targets import Targets


class Connected:
    """The upstream's end of a tunnel, and the lease that counts it."""

    __slots__ = ("_attempt", "_dialled", "_lease", "reply")

    def __init__(self, dialled: Dialled, lease: Lease, attempt: Attempt) -> None:
        self._dialled = dialled
        self._lease = lease
        self._attempt = attempt
        self.reply: Any = self

    def take_over(self) -> tuple[Stream, bytes]:
        """Return the stream and the bytes already read from it."""
        return self._dialled.take_over()

    def close(self) -> None:
        """Close the connection and settle the lease; safe to call more than once."""
        self._dialled.close()
        if not self._lease.settled:
            self._attempt.response_time = time.time() - self._attempt.started
            count_end(self._attempt, False)
        self._lease.settle(False)


class Connecting(Attempts):
    """The attempts to open one tunnel."""

    __slots__ = ("_judged", "_settings", "_source")

    def __init__(self, exchange: Exchange, pool: Pool, tunnel: TunnelSettings, settings: ProxySettings, judged: bool) -> None:
        tries = tunnel.next_upstream_tries or pool.tries_limit
        super().__init__(exchange, pool, Retries(tunnel, exchange.method, tries, None, time.monotonic))
        self._settings = settings
        self._source: str | None = (tunnel.bind(exchange) if tunnel.bind is not None else "") or None
        self._judged = judged

    def send(self, lease: Lease, attempt: Attempt) -> Connected:
        """Connect to one server."""
        peer = lease.peer
        if self._judged:
            destinations.check(self.exchange, self.exchange.location.guard, peer.address)
        dialled = Dialled(Route(peer.address, name=peer.name, settings=self._settings, source=self._source))
        attempt.status = 200
        attempt.connect_time = dialled.connect_time
        return Connected(dialled, lease, attempt)

    def url(self, lease: Lease) -> str:
        return lease.peer.name


class Tunnel:
    """The handler of one location with `tunnel_pass`."""

    def __init__(self, tunnel: TunnelSettings, targets: Targets) -> None:
        self._tunnel = tunnel
        self._targets = targets
        self._settings = replace(
            ProxySettings(),
            connect_timeout=tunnel.connect_timeout,
            send_timeout=tunnel.send_timeout,
            read_timeout=tunnel.read_timeout,
            socket_keepalive=tunnel.socket_keepalive,
        )

    def __call__(self, exchange: Exchange) -> Response:
        """Return 200 with the tunnel as its body. Raises ClientError (405) for another method, UpstreamError without a server."""
        tunnel = self._tunnel
        if exchange.method != "CONNECT" or tunnel.pass_ is None:
            raise ClientError(status=405)
        require_connection(exchange)
        target = self._targets.to(tunnel.pass_(exchange), exchange.location.core)
        target.record(exchange)
        target.refresh()
        judged = getattr(tunnel.pass_, "constant", None) is None or exchange.location.guard.tunnel_allow_upstream is not None
        connected: Connected = Connecting(exchange, target.pool, tunnel, self._settings, judged).run()
        return Response(200, [], Tunnelled(connected, "", tunnel.read_timeout))
