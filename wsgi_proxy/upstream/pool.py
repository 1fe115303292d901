"""A pool, the servers of an upstream, and the lease of one of its peers for one attempt.

Rules:
- `lease` chooses a peer and counts the connection. `settle` ends the count and records the result. Nothing else counts.
- The state that workers must agree on (open connections, failures, response times) lies in shared memory. Without failures, a
  request reads a few shared words and writes its worker's row, without a lock between processes.
- The holder of the pool's lock neither waits nor switches greenlets.
- The order is nginx's: peers that are not tried, down, quarantined or full; then the backups; then 502 at once.
- A single server without backups is never quarantined, because no other could serve.
- Names are resolved again in the background (names.py). Peers that stay keep all their numbers.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from _thread import RLock
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mypy_extensions import mypyc_attr

from .. import config
from ..balance import (
    EPOCH,
    FIRST_FAILS,
    HEADER_MS,
    LAST_MS,
    SHARED_MAX,
    Balancer,
    Dice,
    Peer,
    PeerGroup,
    SharedTurns,
    Standing,
    Tried,
    balancer,
    walking,
)
from ..errors import ConfigError, Fault, NoLiveUpstreams
from ..shm import SharedMemory, forked_without_exec
from . import arguments
from .columns import Columns
from .lineup import Lineup
from .names import Addresses
from .queue import Queue
from .resolver import SYSTEM, Resolver
from .sticky import cookie, set_cookie

__all__ = ["Lease", "Peer", "Pool"]


class Lease:
    """One attempt at `peer`, counted as an open connection until it is settled."""

    __slots__ = ("_pool", "begun", "peer", "settled")

    def __init__(self, pool: Pool, peer: Peer) -> None:
        self._pool = pool
        self.peer = peer
        self.settled = False
        self.begun = 0
        """The start of the attempt in milliseconds, for least_time with `inflight`; else 0."""

    def sticky_cookie(self) -> str | None:
        """Return the Set-Cookie value that keeps the client with this server; None without `sticky`."""
        return self._pool.sticky_cookie(self.peer)

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
                    pool._judge(index, failed)
            if pool._queue is not None:
                pool._queue.wake()


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool:
    """The servers of an upstream, with the state that all workers share.

    Pools that the workers of one server create in the same order share their state through shared memory.

    Args:
        servers: `Server` objects or addresses: `"http://b:3000"`, `"https://b"`, `"10.0.0.1:80"`, `"unix:/run/x"`.
        policy: The balancing method: `"least_conn"`, `"round_robin"`, `"least_time"`, `"random"`, `"ip_hash"`, `"hash"`, a
            `Policy`, `"package.module:name"`, or a function `f(servers, exchange)` that returns one of the servers.
        name: The name of the upstream, for logs and the status page.
        memory: The shared memory to use; by default that of this process and its siblings.
        clock: The function that gives the present time, in seconds since the epoch.
        dice: The source of random numbers; by default a new `random.Random`.
        sticky: The cookie that keeps a client with its server.
        queue: The number of requests that may wait when every server has reached `max_conns`; 0 allows none.
        queue_timeout: The longest wait in the queue, in seconds.
        resolver: The source of the addresses of names; by default the system's.
        health_check: The active health check of these servers.
        shared_turns: Share the round robin position among the workers, as nginx does for an upstream with a `zone`.
        verify: Which certificates of https servers are trusted: True for the system's authorities, or the path of a file with
            certificates; False verifies nothing.
        ssl_context: The TLS context for https servers, instead of `verify`.

    Raises:
        ConfigError: An argument has a wrong type or value, a name is unknown, or the combination of options has no meaning.
    """

    def __init__(
        self,
        servers: Iterable[config.Server | str],
        policy: config.Policy | str | Callable[..., Any] | Any = "least_conn",
        *,
        name: str | Any = "",
        memory: SharedMemory | None = None,
        clock: Callable[[], float] = time.time,
        dice: Dice | None = None,
        sticky: config.Sticky | None = None,
        queue: int | Any = 0,
        queue_timeout: float | Any = 60.0,
        resolver: Resolver = SYSTEM,
        health_check: config.HealthCheck | None = None,
        shared_turns: bool | Any = False,
        verify: bool | str | os.PathLike[str] | Any = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.servers = arguments.servers(servers)
        arguments.check(policy, name, sticky, queue, queue_timeout, health_check, shared_turns)
        self.name: str = name
        self.policy = policy
        self.sticky = sticky
        self.resolver = resolver
        self.health_check = health_check
        """The active check of these servers, in addition to those of locations."""
        self.on_tick: Callable[[], None] | None = None
        """A function to call at most once a second during requests. It must not wait."""
        self.memory = memory or SharedMemory.open("pools")
        self._clock = clock
        self._dice: Dice = dice or random.Random()
        self._guard = RLock()
        arguments.check_together(self.servers, policy, name)
        self._shared_turns = shared_turns
        area = self._area = self.memory.unique(f"pool/{name}")
        self._lock = self.memory.lock(area)
        self._gate = self.memory.lock(f"{area}/gate")
        names = f"{area}/names"
        lock = self.memory.lock(names)
        self._names = Addresses(self.servers, resolver, clock, lambda size: self.memory.area(names, size), lock)
        self.scheme = self._names.targets[self.servers[0]].scheme or "http"
        """The scheme of servers given as URLs, else http."""
        self.tls = arguments.tls(verify, ssl_context, any(each.scheme == "https" for each in self._names.targets.values()))
        """The TLS settings for https servers of a pool created in Python."""
        self._columns = Columns(self.memory, area, self._lock, self.servers, len(self._names.named))
        self.counts = self._columns.counts
        self.health = self._columns.health
        self._words = self.health.words
        self._queue = Queue(self.memory, area, queue, queue_timeout) if queue else None
        try:
            self._install()
        except ValueError as error:
            raise ConfigError(Fault(f"policy: {error}")) from error
        self._second = -1
        if forked_without_exec():
            # A worker claims its slot at once, which also removes the numbers of killed workers.
            self.memory.join()

    @classmethod
    def from_config(cls, upstream: config.Upstream, memory: SharedMemory | None = None, **options: Any) -> Pool:
        """Return the pool of an `upstream` block.

        Args:
            upstream: The block, from `Config.upstreams`.
            memory: The shared memory to use; by default that of this process and its siblings.
            options: Further arguments of `Pool`.
        """
        options.setdefault("sticky", upstream.sticky)
        options.setdefault("queue", upstream.queue)
        options.setdefault("shared_turns", upstream.zone is not None)
        options.setdefault("queue_timeout", upstream.queue_timeout)
        return cls(upstream.servers, upstream.policy, name=upstream.name, memory=memory, **options)

    def _install(self, before: Sequence[Peer] = ()) -> None:
        """Create a peer for each known address. Peers of `before` stay the same objects with all their numbers."""
        peers = self._columns.assign(self._names.peers(before))
        self._lineup = lineup = Lineup(peers, self._columns, self._group, self._names.suspect)
        self.peers = lineup.peers
        self.single = lineup.single
        self.tries_limit = lineup.tries_limit
        """The default number of attempts per request: one per address that is not down, backups included."""
        plain = self.sticky is None and not (lineup.measures or lineup.single) and lineup.main is not None
        self._plain_pick = lineup.main.pick if plain and lineup.main is not None else None
        """The policy's `pick`, if a first attempt needs nothing else."""
        self._timed = bool(lineup.inflight)

    def _group(self, peers: Sequence[Peer]) -> tuple[PeerGroup, Balancer]:
        """Return a group of peers and its policy."""
        group = PeerGroup(peers, self.counts.totals, self.health, self._dice, self._clock)
        walk = walking(self.policy, group) if self._shared_turns and 1 < len(peers) <= SHARED_MAX else None
        if walk is not None:
            return group, SharedTurns(group, walk, self.memory, self._area, self._lock)
        return group, balancer(self.policy, group)

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
            raise NoLiveUpstreams(f'no live upstreams in "{self.name}"' if self.peers else f"{self.name} could not be resolved")
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
            return lineup.only(self.peers[0])
        if self.sticky is not None:
            wanted = self._wanted(exchange, cookie(exchange.header("Cookie"), self.sticky.cookie), now)
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
        """Return the peer of the client's cookie, if it may be used. A server with `drain` keeps its sessions."""
        if not sid:
            return None
        conns = self.counts.totals
        for peer in self.peers:
            if peer.sid == sid:
                server = peer.server
                full = server.max_conns and conns[peer.index] >= server.max_conns
                tried = exchange.tried is not None and peer in exchange.tried
                if not (tried or server.down or full or self.health.closed(peer.index, now)):
                    return peer
        return None

    def sticky_cookie(self, peer: Peer) -> str | None:
        """The Set-Cookie value that keeps the client with `peer`; None without `sticky`."""
        return None if self.sticky is None else set_cookie(self.sticky, peer.sid, self._clock())

    def _note_pick(self, peer: Peer, now: int) -> bool:
        """Record the choice. Return False if another worker took the only probe after a quarantine."""
        with self._lock:
            if self.health.closed(peer.index, now):
                return False
            self.health.picked(peer.index, now)
        return True

    # --- settling ----------------------------------------------------------------------------------------------------

    def _measure(self, lease: Lease, failed: bool, header_time: float | None, last_byte_time: float | None) -> None:
        """Record the response times for least_time."""
        index = lease.peer.index
        if lease.begun and lease.peer.group in self._lineup.inflight:
            self._lineup.inflight[lease.peer.group].end(lease.peer, lease.begun)
        if failed or header_time is None:
            return
        with self._lock:
            self.health.measured(HEADER_MS, index, int(header_time * 1000))
            if last_byte_time is not None:
                self.health.measured(LAST_MS, index, int(last_byte_time * 1000))

    def _judge(self, index: int, failed: bool) -> None:
        """Record a failed attempt, or a successful one at a server with failures."""
        now = int(self._clock())
        with self._lock:
            if not failed:
                self.health.passed(index, now)
            elif not self.single:
                self.health.failed(index, now)

    # --- keeping up ----------------------------------------------------------------------------------------------------

    def _tick(self, now: int) -> None:
        """Free the slots of dead workers and start a resolution that is due, once a second."""
        self._second = now
        if self.memory.reaped != now:
            self.memory.reaped = now
            self.memory.reap()
        if self.on_tick is not None:
            self.on_tick()
        self._lineup.age(now)
        if now >= self._names.due:
            self._names.resolve_again(self._take_in)

    def _take_in(self, news: Callable[[], bool]) -> None:
        """Store the result of a resolution, and create new peers if an address has changed. Called in the resolving thread."""
        with self._guard:
            if news():
                self._install(self._lineup.dissolve())

    # --- for active checks and the status page ---------------------------------------------------------------------------

    def checked(self, peer: Peer, good: bool) -> bool:
        """Record the result of an active check. Return True if it is new."""
        with self._guard, self._lock:
            return self.health.checked(peer.index, good, int(self._clock()))

    def require_checks(self) -> None:
        """Use no server before it has passed a check (`mandatory`)."""
        with self._guard:
            self.health.mandatory = True
            self._lineup.epoch = -1

    def standing(self) -> list[tuple[Peer, int, bool, Standing]]:
        """Return each peer with its open connections, True if it may be chosen now, and its numbers."""
        with self._guard:
            self.counts.sync()
            self._lineup.refresh(int(self._clock()))
            totals = self.counts.totals
            return [(peer, totals[peer.index], peer.ready, self.health.standing(peer.index)) for peer in self.peers]
