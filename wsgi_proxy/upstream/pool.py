"""A pool, the servers of an upstream, and the lease of one of its peers for one attempt.

Rules:
- `lease` chooses a peer and counts the connection. `settle` ends the count and records the result. Nothing else counts.
- The state that workers must agree on (open connections, failures, response times) lies in shared memory. Without failures, a
  request reads a few shared words and writes its worker's row, without a lock between processes.
- The holder of the pool's lock neither waits nor switches greenlets.
- The order is nginx's: peers that are not tried, down, quarantined or full; then the backups; then 502 at once.
- A single server without backups is never quarantined, because no other could serve.
- Names are resolved again in the background, or by a request that waits (names.py). Peers that stay keep all their numbers.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from mypy_extensions import mypyc_attr

from .. import config
from ..balance import EPOCH, FIRST_FAILS, Peer, Tried
from ..errors import NoLiveUpstreams
from . import arguments
from .pool_state import DEFAULT_RUNTIME, PoolState, Runtime

__all__ = ["Lease", "Peer", "Pool"]


class Lease:
    """One attempt at `peer`, counted as an open connection until it is settled."""

    __slots__ = ("_learning", "_pool", "begun", "peer", "reason", "settled")

    def __init__(self, pool: Pool, peer: Peer) -> None:
        self._pool = pool
        self._learning: Any = None
        self.peer = peer
        self.settled = False
        self.reason = ""
        """The description of a failure, for the log; set before `settle`."""
        self.begun = 0
        """The start of the attempt in milliseconds, for least_time with `inflight`; else 0."""

    def sticky_cookie(self, exchange: Any) -> str | None:
        """Return the Set-Cookie value that keeps the client with this server; None without `sticky`."""
        return self._pool.sticky_cookie(self.peer, exchange)

    def answered(self, exchange: Any) -> None:
        """Note that the head of the response has arrived. With `sticky learn`, its session is bound now or at the end."""
        sessions = self._pool.sessions
        if sessions is not None and sessions.learns:
            if sessions.early or self.settled:
                sessions.learn(exchange, self.peer.sid)
            else:
                self._learning = exchange

    def settle(self, failed: bool = False, header_time: float | None = None, last_byte_time: float | None = None) -> None:
        """End the attempt. A settled lease is ignored.

        `failed` is True for a failure that counts against the server. The times, in seconds since the start of the attempt, are
        those of a successful response, for least_time.
        """
        if not self.settled:
            self.settled = True
            pool, index = self._pool, self.peer.index
            with pool._guard:
                if pool._lineup.measures:
                    # Before the count changes, because other workers follow the count.
                    pool._measure(self, failed, header_time, last_byte_time)
                pool.counts.remove(index)
                if failed or pool._words[FIRST_FAILS + index]:
                    pool._judge(self.peer, failed, self.reason)
            if self._learning is not None:
                exchange, self._learning = self._learning, None
                pool.sessions.learn(exchange, self.peer.sid)
            if pool._queue is not None:
                pool._queue.wake()


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool(PoolState):
    """The servers of an upstream, with the state that all workers share.

    Pools that the workers of one server create in the same order share their state through shared memory.

    Args:
        servers: `Server` objects or addresses: `"http://b:3000"`, `"https://b"`, `"10.0.0.1:80"`, `"unix:/run/x"`.
        policy: The balancing method: `"least_conn"`, `"round_robin"`, `"least_time"`, `"random"`, `"ip_hash"`, `"hash"`, a
            `Policy`, `"package.module:name"`, or a function `f(servers, exchange)` that returns one of the servers.
        name: The name of the upstream, for logs and the status page.
        sticky: The cookie that keeps a client with its server.
        queue: The number of requests that may wait when every server has reached `max_conns`; 0 allows none.
        queue_timeout: The longest wait in the queue, in seconds.
        health_check: The active health check of these servers.
        shared_turns: Share the round robin position among the workers, as nginx does for an upstream with a `zone`.
        verify: Which certificates of https servers are trusted: True for the system's authorities, or the path of a file with
            certificates; False verifies nothing.
        ssl_context: The TLS context for https servers, instead of `verify`.
        runtime: Internal: the shared memory, clock, random numbers and resolver.

    Raises:
        ConfigError: An argument has a wrong type or value, a name is unknown, or the combination of options has no meaning.
    """

    def __init__(
        self,
        servers: Iterable[config.Server | str],
        policy: config.Policy | str | Callable[..., Any] | Any = "least_conn",
        *,
        name: str | Any = "",
        sticky: config.Sticky | Any = None,
        queue: int | Any = 0,
        queue_timeout: float | Any = 60.0,
        health_check: config.HealthCheck | None = None,
        shared_turns: bool | Any = False,
        verify: bool | str | os.PathLike[str] | Any = True,
        ssl_context: ssl.SSLContext | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        arguments.check(policy, name, sticky, queue, queue_timeout, health_check, shared_turns)
        super().__init__(
            arguments.servers(servers), policy, name, sticky, queue, queue_timeout, shared_turns, runtime or DEFAULT_RUNTIME
        )
        self.health_check = health_check
        """The active check of these servers, in addition to those of locations."""
        self.scheme = self._names.targets[self.servers[0]].scheme or "http"
        """The scheme of servers given as URLs, else http."""
        self.tls = arguments.tls(verify, ssl_context, any(each.scheme == "https" for each in self._names.targets.values()))
        """The TLS settings for https servers of a pool created in Python."""

    @classmethod
    def from_config(cls, upstream: config.Upstream, runtime: Runtime | None = None, **options: Any) -> Pool:
        """Return the pool of an `upstream` block.

        Args:
            upstream: The block, from `Config.upstreams`.
            runtime: Internal: the shared memory, clock, random numbers and resolver.
            options: Further arguments of `Pool`.
        """
        options.setdefault("sticky", upstream.sticky)
        options.setdefault("queue", upstream.queue)
        options.setdefault("shared_turns", upstream.zone is not None)
        options.setdefault("queue_timeout", upstream.queue_timeout)
        return cls(upstream.servers, upstream.policy, name=upstream.name, runtime=runtime, **options)

    # --- choosing --------------------------------------------------------------------------------------------------

    def lease(self, exchange: Any) -> Lease:
        """Return the lease for the next attempt of an exchange, and add its peer to `exchange.tried`.

        Waits if the upstream has a `queue`. Raises NoLiveUpstreams if no peer is eligible.
        """
        queue = self._queue
        if queue is None and not self._lineup.limited:
            peer = self._try_now(exchange)
        else:
            peer = None if queue is not None and queue.busy else self._try(exchange)
            if peer is None and queue is not None and self._may_wait(exchange):
                peer = queue.wait(lambda: self._try(exchange))
        if peer is None:
            if not self.peers:
                raise NoLiveUpstreams(f"{self.name} could not be resolved", error_type="dns_error")
            raise NoLiveUpstreams(f'no live upstreams in "{self.name}"')
        tried = exchange.tried
        if tried is None:
            exchange.tried = {peer}
        else:
            tried.add(peer)
        lease = Lease(self, peer)
        if self._timed:
            self._begin(lease)
        return lease

    def _begin(self, lease: Lease) -> None:
        with self._guard:
            inflight = self._lineup.inflight.get(lease.peer.group)
            if inflight is not None:
                lease.begun = inflight.begin(lease.peer)

    def _try(self, exchange: Any) -> Peer | None:
        """Choose a peer and count the connection atomically."""
        if not self._lineup.limited:
            return self._try_now(exchange)
        # Two workers must not both take the last connection below max_conns.
        with self._gate:
            return self._try_now(exchange)

    def _try_now(self, exchange: Any) -> Peer | None:
        """Choose a peer and count the connection. Most requests need nothing beyond this method."""
        now = int(self._clock())
        counts = self.counts
        with self._guard:
            if now != self._second:
                self._tick(now)
            counts.sync()
            lineup = self._lineup
            if self._words[EPOCH] != lineup.epoch or now >= lineup.next_change:
                lineup.refresh(now)
            if counts.changed:
                lineup.reorder(now)
            pick = self._plain_pick
            peer = pick(exchange, None, now) if pick is not None and exchange.tried is None else None
            if peer is None or peer.suspect:
                peer = self._choose(exchange, now, peer)
                if peer is None:
                    return None
            counts.add(peer.index)
            return peer

    def _may_wait(self, exchange: Any) -> bool:
        """Return True if waiting can help, because a server has not been tried yet."""
        tried = exchange.tried or ()
        return any(not (peer.server.down or peer in tried) for peer in self.peers)

    def _choose(self, exchange: Any, now: int, peer: Peer | None) -> Peer | None:
        """Handle retries, backups, sessions, and probes of failed servers. `peer` is the policy's first choice, if any."""
        lineup = self._lineup
        while True:
            if peer is None:
                peer = self._pick(exchange, now)
            if peer is not None:
                if not (peer.suspect or lineup.measures) or self._note_pick(peer, now):
                    return peer
            elif not (lineup.limited and self.memory.reap()):
                return None
            # Another worker took the probe, or the connections of a dead worker made a server seem full.
            peer = None
            self.counts.sync()
            lineup.refresh(now)
            lineup.reorder(now)

    def _pick(self, exchange: Any, now: int) -> Peer | None:
        """Return the choice among the servers, else among the backups. A request that tried a backup stays with the backups."""
        tried: Tried = exchange.tried
        lineup = self._lineup
        if self.single:
            only = lineup.only(self.peers[0])
            return only if only is None or lineup.confirm is None else lineup.confirm(only, exchange)
        if self.sticky is not None:
            wanted = self._wanted(exchange, self.sessions.wanted(exchange), now)
            if wanted is not None:
                stay = getattr(lineup.main, "stay", None)
                if stay is not None and not wanted.backup:
                    stay(wanted, tried)
                return wanted
        peer: Peer | None = None
        if lineup.main is not None and not (tried and any(peer.backup for peer in tried)):
            peer = lineup.main.pick(exchange, tried, now)
        if peer is None and lineup.backup is not None:
            peer = lineup.backup.pick(exchange, tried, now)
        return peer

    def _wanted(self, exchange: Any, sid: str, now: int) -> Peer | None:
        """Return the peer of the client's session, if it may be used. A server with `drain` keeps its sessions."""
        if not sid:
            return None
        conns = self.counts.totals
        for peer in self.peers:
            if peer.sid == sid:
                server = peer.server
                full = server.max_conns and conns[peer.index] >= server.max_conns
                tried = exchange.tried is not None and peer in exchange.tried
                if not (tried or full or self.health.refused(peer.index, server) or self.health.closed(peer.index, now)):
                    return peer
        return None

    def sticky_cookie(self, peer: Peer, exchange: Any) -> str | None:
        """The Set-Cookie value that keeps the client with `peer`; None without `sticky`."""
        value: str | None = None if self.sticky is None else self.sessions.set_cookie(peer.sid, self._clock(), exchange)
        return value

    def _note_pick(self, peer: Peer, now: int) -> bool:
        """Record the choice. Return False if another worker took the only probe after a quarantine."""
        with self._lock:
            if self.health.closed(peer.index, now):
                return False
            self.health.picked(peer.index, now)
        return True
