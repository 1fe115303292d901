"""Pool: the servers of an upstream, and who gets the next request. Lease: one try at one of them.

Rules:
- `lease` chooses and counts in, `settle` counts out and writes down what came of it; nothing else counts.
- Everything that workers must agree on (open connections, failures, response times) lies in the zone. On the healthy path a
  request reads a few shared words and writes its own row, without a lock between processes.
- Inside the pool's own lock nothing waits and nothing switches greenlets.
- The order of eligibility is nginx's: not tried, not down, not quarantined, not full; then the backups; then 502 at once.
- A single server without backups is never quarantined: there is nobody else to ask.
- Names are resolved again in the background (resolve.py); the peers that stay keep all their numbers.
"""

from __future__ import annotations

import random
import threading
import time
from _thread import RLock
from collections.abc import Callable, Iterable
from typing import Any

from . import config
from .balance import Balancer, balancer, walking
from .balance_shared import SHARED_MAX, SharedTurns
from .balance_sticky import cookie, set_cookie
from .errors import ConfigError, Fault, NoLiveUpstreams
from .health import EPOCH, FIRST_FAILS, HEADER_MS, LAST_MS, Standing
from .peers import Address, Dice, Group, Peer, Tried
from .ranking import Ranked
from .resolve import Resolver, first_addresses, name_of, target_of
from .upstream_columns import Columns
from .upstream_queue import Queue
from .zone import Zone, forked_without_exec

__all__ = ["Lease", "Peer", "Pool"]

_NEVER = float("inf")
_SYSTEM = Resolver()
_RETRY = 5.0
"""Seconds between attempts to find the new address of a name whose old one does not answer."""


class Lease:
    """One try at `peer`, counted as an open connection until it is settled."""

    __slots__ = ("_pool", "peer", "settled")

    def __init__(self, pool: Pool, peer: Peer) -> None:
        self._pool = pool
        self.peer = peer
        self.settled = False

    def sticky_cookie(self) -> str | None:
        """The Set-Cookie value that keeps the client with this server; None without `sticky`."""
        return self._pool.sticky_cookie(self.peer)

    def settle(self, failed: bool = False, header_time: float | None = None, last_byte_time: float | None = None) -> None:
        """End the try; only the first call counts. `failed`: in a way that counts against the server. The times, in seconds
        since the try began, are given for good answers only; least_time learns from them."""
        if not self.settled:
            self.settled = True
            pool, index = self._pool, self.peer.index
            with pool._guard:
                if pool._measures and not failed and header_time is not None:
                    # Before the count, whose change is what makes the other workers look.
                    pool._measure(index, header_time, last_byte_time)
                pool.counts.remove(index)
                if failed or pool._words[FIRST_FAILS + index]:
                    pool._judge(index, failed)
            if pool._queue is not None:
                pool._queue.wake()


class Pool:
    """The servers of an upstream.

    `servers` are `config.Server`s or addresses (`"http://b:3000"`, `"10.0.0.1:80"`, `"unix:/run/x"`); `policy` is a name of
    `balance.POLICIES`, a `config.Policy`, `"package.module:thing"` or a function `f(servers, exchange) -> Server`. Pools that
    the workers of one server build in the same order share their state through `zone`; with `shared_turns` also whose turn it is
    (what nginx does where an upstream has a `zone`). ConfigError when a name is unknown or
    the combination makes no sense.
    """

    def __init__(
        self,
        servers: Iterable[config.Server | str],
        policy: config.Policy | str | Callable[..., Any] | Any = "least_conn",
        *,
        name: str = "",
        zone: Zone | None = None,
        clock: Callable[[], float] = time.time,
        dice: Dice | None = None,
        sticky: config.Sticky | None = None,
        queue: int = 0,
        queue_timeout: float = 60.0,
        resolver: Resolver = _SYSTEM,
        health_check: config.HealthCheck | None = None,
        shared_turns: bool = False,
    ) -> None:
        self.servers = tuple(config.Server(server) if isinstance(server, str) else server for server in servers)
        self.name = name
        self.policy = policy
        self.sticky = sticky
        self.resolver = resolver
        self.health_check = health_check
        """What probe.py does with these servers beside what locations ask for."""
        self.on_tick: Callable[[], None] | None = None
        """Called at most once a second while requests come; must not wait."""
        self.zone = zone or Zone.open("pools")
        self._clock = clock
        self._dice: Dice = dice or random.Random()
        self._guard = RLock()
        check(self.servers, policy, name)
        self._shared_turns = shared_turns
        area = self._area = self.zone.unique(f"pool/{name}")
        self._lock = self.zone.lock(area)
        self._targets = {server: target_of(server) for server in self.servers}
        self.scheme = self._targets[self.servers[0]].scheme or "http"
        """How to speak to the servers, where they were given as URLs."""
        self._named = [server for server, target in self._targets.items() if target.is_name]
        self._columns = Columns(self.zone, area, self._lock, self.servers, len(self._named))
        self.counts = self._columns.counts
        self.health = self._columns.health
        self._words = self.health.words
        self._queue = Queue(self.zone, area, queue, queue_timeout) if queue else None
        self.peers: list[Peer] = []
        self._ranked: list[Ranked] = []
        self._addresses = {server: first_addresses(server, resolver) for server in self.servers}
        self._install()
        self._resolving = False
        self._resolve_at = _NEVER
        if any(server.resolve for server in self._named):
            self._resolve_at = clock() + (min(resolver.valid or _RETRY, _RETRY) if all(self._addresses.values()) else 1)
        self._second = -1
        if forked_without_exec():
            # A worker: take part from now on, which also clears away what the worker before us left when it was killed.
            self.counts.sync()

    @classmethod
    def from_config(cls, upstream: config.Upstream, zone: Zone | None = None, **options: Any) -> Pool:
        """The pool of an `upstream` block."""
        options.setdefault("sticky", upstream.sticky)
        options.setdefault("queue", upstream.queue)
        options.setdefault("shared_turns", upstream.zone is not None)
        options.setdefault("queue_timeout", upstream.queue_timeout)
        return cls(upstream.servers, upstream.policy, name=upstream.name, zone=zone, **options)

    def _install(self) -> None:
        """Make a peer of each address known now: servers first, then backups, each in the configuration's order. Peers that
        there were stay the same objects."""
        for peer in self.peers:
            if peer.rotation is not None:
                peer.rotation.leave(peer)
        before: dict[tuple[int, Address], Peer] = {(id(peer.server), peer.address): peer for peer in self.peers}
        peers = []
        for server in self.servers:
            target = self._targets[server]
            for address in self._addresses[server]:
                known = before.get((id(server), address))
                peers.append(known or Peer(server, address, name_of(address), target.host, target.scheme))
        peers.sort(key=lambda peer: peer.backup)
        self.peers = self._columns.assign(peers)
        conns = self.counts.totals
        groups = [[peer for peer in self.peers if not peer.backup], [peer for peer in self.peers if peer.backup]]
        self._groups = [Group(group, conns, self.health, self._dice, self._clock) for group in groups]
        self._balancers = [self._balancer(group) for group in self._groups if group.peers]
        self._measures = any(getattr(each, "measures", False) for each in self._balancers)
        self._ranked = [each for each in self._balancers if isinstance(each, Ranked)]
        self.counts.changed = [] if any(each.by_conns for each in self._ranked) else None
        plain = self.sticky is None and not self._measures and len(self.peers) > 1 and self._groups[0].peers
        self._plain_pick = self._balancers[0].pick if plain else None
        """The policy, where a first try needs nothing else."""
        self._limited = any(group.limited for group in self._groups)
        self.single = len(self.peers) == 1
        self.tries_limit = sum(not (peer.server.down or peer.server.drain) for peer in self.peers)
        """How many tries a request has by default: one per address that is not down, backups included."""
        self._ramped = [peer for peer in self.peers if peer.server.slow_start and not self.single]
        self._watched: set[Peer] = set(self.peers)
        self._epoch = -1
        self._next: float = 0

    def _balancer(self, group: Group) -> Balancer:
        walk = walking(self.policy, group) if self._shared_turns and 1 < len(group.peers) <= SHARED_MAX else None
        if walk is not None:
            return SharedTurns(group, walk, self.zone, self._area, self._lock)
        return balancer(self.policy, group)

    # --- choosing --------------------------------------------------------------------------------------------------

    def lease(self, x: Any) -> Lease:
        """The next try for the exchange `x`, whose `tried` set is kept here. Waits where the upstream has a `queue`.
        NoLiveUpstreams when nobody is eligible."""
        queue = self._queue
        peer = None if queue is not None and queue.busy else self._try(x)
        if peer is None and queue is not None and self._may_wait(x):
            peer = queue.wait(lambda: self._try(x))
        if peer is None:
            raise NoLiveUpstreams(f'no live upstreams in "{self.name}"')
        tried = x.tried
        if tried is None:
            x.tried = {peer}
        else:
            tried.add(peer)
        return Lease(self, peer)

    def _try(self, x: Any) -> Peer | None:
        """Choose and count in, in one piece. What is below is all that most requests need."""
        now = int(self._clock())
        counts = self.counts
        with self._guard:
            if now != self._second:
                self._tick(now)
            counts.sync()
            if self._words[EPOCH] != self._epoch or now >= self._next:
                self._refresh(now)
            if counts.changed:
                self._reorder(now)
            pick = self._plain_pick
            peer = pick(x, None, now) if pick is not None and x.tried is None else None
            if peer is None or peer.suspect:
                peer = self._choose(x, now, peer)
                if peer is None:
                    return None
            counts.add(peer.index)
            return peer

    def _may_wait(self, x: Any) -> bool:
        """Whether time can help: some server was not tried yet."""
        tried = x.tried or ()
        return any(not (peer.server.down or peer in tried) for peer in self.peers)

    def _choose(self, x: Any, now: int, peer: Peer | None) -> Peer | None:
        """The rest of choosing: second tries, backups, sessions, probes of servers that failed. `peer`: chosen already."""
        while True:
            if peer is None:
                peer = self._pick(x, now)
            if peer is not None:
                if not (peer.suspect or self._measures) or self._note_pick(peer, now):
                    return peer
            elif not (self._limited and self.zone.reap()):
                return None
            # Another worker took the probe; or what seemed full was held by a worker that is dead.
            peer = None
            self.counts.sync()
            self._refresh(now)
            self._reorder(now)

    def _pick(self, x: Any, now: int) -> Peer | None:
        """Whom the policy names: among the servers, else among the backups, where a request stays once it came to them."""
        tried: Tried = x.tried
        balancers = self._balancers
        if self.single:
            return self.peers[0] if self._groups[0].fits(self.peers[0], None) else None
        if self.sticky is not None:
            wanted = self._wanted(x, cookie(x.header("Cookie"), self.sticky.cookie))
            if wanted is not None:
                return wanted
        if not balancers:
            return None
        if not tried or len(balancers) == 1 or not any(peer.backup for peer in tried):
            peer = balancers[0].pick(x, tried, now)
            if peer is not None or len(balancers) == 1:
                return peer
        return balancers[1].pick(x, tried, now)

    def _wanted(self, x: Any, sid: str) -> Peer | None:
        """The peer the client's cookie names, if it may be used; `drain` lets sessions stay where they are."""
        if not sid:
            return None
        conns, now = self.counts.totals, int(self._clock())
        for peer in self.peers:
            if peer.sid == sid:
                server = peer.server
                full = server.max_conns and conns[peer.index] >= server.max_conns
                tried = x.tried is not None and peer in x.tried
                if not (tried or server.down or full or self.health.closed(peer.index, now)):
                    return peer
        return None

    def sticky_cookie(self, peer: Peer) -> str | None:
        """The Set-Cookie value that keeps the client with `peer`; None without `sticky`."""
        return None if self.sticky is None else set_cookie(self.sticky, peer.sid, self._clock())

    def _note_pick(self, peer: Peer, now: int) -> bool:
        """Write the choice down; False when another worker took the one probe that a passed quarantine allows."""
        with self._lock:
            if self.health.closed(peer.index, now):
                return False
            self.health.picked(peer.index, now)
        return True

    # --- settling ----------------------------------------------------------------------------------------------------

    def _measure(self, index: int, header_time: float, last_byte_time: float | None) -> None:
        with self._lock:
            self.health.measured(HEADER_MS, index, int(header_time * 1000))
            if last_byte_time is not None:
                self.health.measured(LAST_MS, index, int(last_byte_time * 1000))

    def _judge(self, index: int, failed: bool) -> None:
        """A try failed, or went well at a server that has failures."""
        now = int(self._clock())
        with self._lock:
            if not failed:
                self.health.passed(index, now)
            elif not self.single:
                self.health.failed(index, now)

    # --- keeping up ----------------------------------------------------------------------------------------------------

    def _tick(self, now: int) -> None:
        """Once a second: look whether a worker died, and whether a name is to be resolved again."""
        self._second = now
        if self.zone.reaped != now:
            self.zone.reaped = now
            self.zone.reap()
        if self.on_tick is not None:
            self.on_tick()
        for ranked in self._ranked:
            if ranked.ages:
                ranked.update(ranked.group.peers, now)
        if now >= self._resolve_at and not self._resolving:
            self._resolving = True
            threading.Thread(target=self._resolve, name="wsgi_proxy resolve", daemon=True).start()

    def _reorder(self, now: int) -> None:
        """Put the peers whose connections changed where they belong, in pools that are kept in order."""
        changed = self.counts.changed or []
        peers = [peer for index in set(changed) if (peer := self._columns.peers[index]) is not None]
        changed.clear()
        for ranked in self._ranked:
            ranked.update((peer for peer in peers if peer.group is ranked.group), now)

    def _refresh(self, now: int) -> None:
        """Something changed, by someone's doing or by time: see anew who is ready."""
        health = self.health
        self._epoch = health.epoch
        self._next = _NEVER
        failures = health.failures()
        watched = {peer for index in health.notable() if (peer := self._columns.peers[index]) is not None}
        touched = watched | self._watched
        self._watched = watched
        changed = False
        for peer in touched:
            index = peer.index
            if failures[index] != peer.failures:
                self._weaken(peer, failures[index] - peer.failures)
                peer.failures = failures[index]
            # Nobody would stand in for a single server; but what an active check says of it is meant.
            closed = health.barred(index) if self.single else health.closed(index, now)
            if closed:
                self._next = min(self._next, max(health.reopens(index), now + 1))
                if self._targets[peer.server].is_name:
                    self._resolve_at = min(self._resolve_at, now)
            peer.suspect = not self.single and health.fails(index) > 0
            ready = not (closed or peer.server.down or peer.server.drain)
            if ready != peer.ready:
                peer.ready = ready
                changed = True
        for peer in self._ramped:
            share = health.share(peer.index, now)
            peer.weight = peer.nominal * share if share < 1 else peer.nominal
            peer.effective = min(peer.effective, peer.weight)
            if share < 1:
                self._next = min(self._next, now + 1)
        if changed:
            for group in self._groups:
                group.ready = [peer for peer in group.peers if peer.ready]
        touched.update(self._ramped)
        for ranked in self._ranked:
            ours = [peer for peer in touched if peer.group is ranked.group]
            ranked.update(ours, now)
            for peer in ours:
                ranked.rejoin(peer)

    def _weaken(self, peer: Peer, failures: int) -> None:
        limit = peer.server.max_fails
        if limit and not self.single:
            peer.effective = max(0, peer.effective - failures * (peer.nominal // limit))

    def _resolve(self) -> None:
        """In a thread of its own: ask for the names again, and take in what they say now."""
        found: dict[config.Server, list[Address]] = {}
        life = _NEVER
        for server in self._named:
            try:
                found[server], valid = (self.resolver if server.resolve else _SYSTEM).addresses(self._targets[server])
            except (OSError, UnicodeError):
                valid = _RETRY  # what is known so far stays
            if server.resolve:
                life = min(life, valid)
        with self._guard:
            if any(set(addresses) != set(self._addresses[server]) for server, addresses in found.items()):
                self._addresses.update(found)
                self._install()
            suffering = any(not peer.ready and self._targets[peer.server].is_name for peer in self.peers)
            self._resolve_at = self._clock() + max(1.0, min(life, _RETRY if suffering else _NEVER))
            self._resolving = False

    # --- for active checks and the status page ---------------------------------------------------------------------------

    def checked(self, peer: Peer, good: bool) -> bool:
        """Write down what an active check found; True when that is news."""
        with self._guard, self._lock:
            return self.health.checked(peer.index, good, int(self._clock()))

    def require_checks(self) -> None:
        """No server is used before a check found it good (`mandatory`)."""
        with self._guard:
            self.health.mandatory = True
            self._epoch = -1

    def standing(self) -> list[tuple[Peer, int, bool, Standing]]:
        """Each peer with its open connections, whether it may be chosen now, and its numbers."""
        with self._guard:
            self.counts.sync()
            self._refresh(int(self._clock()))
            totals = self.counts.totals
            return [(peer, totals[peer.index], peer.ready, self.health.standing(peer.index)) for peer in self.peers]


def check(servers: tuple[config.Server, ...], policy: Any, name: str) -> None:
    """ConfigError when these servers and this policy do not go together, in nginx's words."""
    if not any(not server.backup for server in servers):
        raise ConfigError(Fault(f'no servers are inside upstream "{name}"'))
    method = policy.name if isinstance(policy, config.Policy) else policy
    for server in servers:
        if server.backup and method in ("hash", "ip_hash", "random"):
            fault = Fault('balancing method does not support parameter "backup"', server.place.file, server.place.line)
            raise ConfigError(fault)
