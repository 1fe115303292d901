"""Pool: the servers of an upstream, and who gets the next request. Lease: one try at one of them.

Rules:
- `lease` chooses and counts in, `settle` counts out and writes down what came of it; nothing else counts.
- Everything that workers must agree on (open connections, failures, response times) lies in the zone. On the healthy path a
  request reads a few shared words and writes its own row, without a lock between processes.
- Inside the pool's own lock nothing waits and nothing switches greenlets.
- The order of eligibility is nginx's: not tried, not down, not quarantined, not full; then the backups; then 502 at once.
- A single server without backups is never quarantined: there is nobody else to ask.
"""

from __future__ import annotations

import random
import time
from _thread import RLock
from collections.abc import Callable, Iterable
from typing import Any

from . import config
from .balance import Balancer, balancer
from .counts import Counts
from .errors import ConfigError, Fault, NoLiveUpstreams
from .health import HEADER_MS, LAST_MS, Health, Standing, size
from .peers import Dice, Group, Peer, Tried
from .ranking import Ranked
from .resolve import peers_of
from .zone import Zone

__all__ = ["Lease", "Peer", "Pool"]

_NEVER = float("inf")


class Lease:
    """One try at `peer`, counted as an open connection until it is settled."""

    __slots__ = ("_pool", "peer", "settled")

    def __init__(self, pool: Pool, peer: Peer) -> None:
        self._pool = pool
        self.peer = peer
        self.settled = False

    def settle(
        self, failed: bool = False, header_time: float | None = None, last_byte_time: float | None = None
    ) -> None:
        """End the try; only the first call counts. `failed`: in a way that counts against the server. The times, in seconds
        since the try began, are given for good answers only; least_time learns from them."""
        if not self.settled:
            self.settled = True
            self._pool._settle(self.peer, failed, header_time, last_byte_time)


class Pool:
    """The servers of an upstream.

    `servers` are `config.Server`s or addresses (`"http://b:3000"`, `"10.0.0.1:80"`, `"unix:/run/x"`); `policy` is a name of
    `balance.POLICIES`, a `config.Policy`, `"package.module:thing"` or a function `f(servers, exchange) -> Server`. Pools that
    the workers of one server build in the same order share their state through `zone`. ConfigError when a name is unknown or
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
    ) -> None:
        self.servers = tuple(config.Server(server) if isinstance(server, str) else server for server in servers)
        self.name = name
        self.policy = policy
        self.sticky = sticky
        self.zone = zone or Zone.open("pools")
        self._area = self.zone.unique(f"pool/{name}")
        self._lock = self.zone.lock(self._area)
        self._guard = RLock()
        self._clock = clock
        self._dice: Dice = dice or random.Random()
        check(self.servers, policy, name)
        self._install([peer for server in self.servers for peer in peers_of(server)])

    @classmethod
    def from_config(cls, upstream: config.Upstream, zone: Zone | None = None, **options: Any) -> Pool:
        """The pool of an `upstream` block."""
        return cls(
            upstream.servers, upstream.policy, name=upstream.name, zone=zone, sticky=upstream.sticky, **options
        )

    def _install(self, peers: list[Peer]) -> None:
        """Make `peers` the pool's: servers first, then backups, each in the configuration's order."""
        peers.sort(key=lambda peer: peer.backup)
        for index, peer in enumerate(peers):
            peer.index = index
        self.peers = peers
        area = f"{self._area}/{len(peers)}"
        self.counts = Counts(self.zone, area, len(peers))
        words = self.zone.area(f"{area}/health", size(len(peers))).cast("q")
        self._words = words
        self.health = Health(words, [peer.server for peer in peers])
        conns = self.counts.totals
        groups = [[peer for peer in peers if not peer.backup], [peer for peer in peers if peer.backup]]
        self._groups = [Group(group, conns, self.health, self._dice, self._clock) for group in groups]
        self._balancers: list[Balancer] = [balancer(self.policy, group) for group in self._groups if group.peers]
        self._measures = any(getattr(each, "measures", False) for each in self._balancers)
        self._ranked = [each for each in self._balancers if isinstance(each, Ranked)]
        if any(each.by_conns for each in self._ranked):
            self.counts.changed = []
        self.single = len(peers) == 1
        self.scheme = peers[0].scheme or "http"
        """How to speak to the servers, where they were given as URLs."""
        self.tries_limit = sum(not (peer.server.down or peer.server.drain) for peer in peers)
        """How many tries a request has by default: one per address that is not down, backups included."""
        self._ramped = [peer for peer in peers if peer.server.slow_start and not self.single]
        self._watched: set[Peer] = set(peers)
        self._epoch = -1
        self._next: float = 0
        self._second = -1

    # --- choosing --------------------------------------------------------------------------------------------------

    def lease(self, x: Any) -> Lease:
        """The next try for the exchange `x`, whose `tried` set is kept here. NoLiveUpstreams when nobody is eligible."""
        now = int(self._clock())
        with self._guard:
            peer = self._choose(x, now)
            if peer is not None:
                self.counts.add(peer.index)
        if peer is None:
            raise NoLiveUpstreams(f'no live upstreams in "{self.name}"')
        if x.tried is None:
            x.tried = {peer}
        else:
            x.tried.add(peer)
        return Lease(self, peer)

    def _choose(self, x: Any, now: int) -> Peer | None:
        if now != self._second:
            self._tick(now)
        self.counts.sync()
        while True:
            if self._words[0] != self._epoch or now >= self._next:
                self._refresh(now)
            if self.counts.changed:
                self._reorder(now)
            peer = self._pick(x, now)
            if peer is None or not (peer.suspect or self._measures) or self._note_pick(peer, now):
                return peer

    def _pick(self, x: Any, now: int) -> Peer | None:
        """Whom the policy names: among the servers, else among the backups, where a request stays once it came to them."""
        tried: Tried = x.tried
        balancers = self._balancers
        if self.single:
            return self.peers[0] if self._groups[0].fits(self.peers[0], None) else None
        wanted = self._wanted(x) if self.sticky is not None else None
        if wanted is not None:
            return wanted
        if not tried:
            peer = balancers[0].pick(x, tried, now)
            if peer is not None or len(balancers) == 1:
                return peer
        elif len(balancers) == 1 or not any(peer.backup for peer in tried):
            peer = balancers[0].pick(x, tried, now)
            if peer is not None:
                return peer
        return balancers[1].pick(x, tried, now) if len(balancers) > 1 else None

    def _note_pick(self, peer: Peer, now: int) -> bool:
        """Write the choice down; False when another worker took the one probe that a passed quarantine allows."""
        with self._lock:
            if not self.single and self.health.closed(peer.index, now):
                return False
            self.health.picked(peer.index, now)
        # Our own note needs no second look: it only closes the server for the others, and for our own next request.
        return True

    # --- settling ----------------------------------------------------------------------------------------------------

    def _settle(self, peer: Peer, failed: bool, header_time: float | None, last_byte_time: float | None) -> None:
        with self._guard:
            index = peer.index
            if self._measures and not failed and header_time is not None:
                with self._lock:
                    self.health.measured(HEADER_MS, index, int(header_time * 1000))
                    if last_byte_time is not None:
                        self.health.measured(LAST_MS, index, int(last_byte_time * 1000))
            # After the response time: the change of the count is what makes the others look.
            self.counts.remove(index)
            if failed:
                if not self.single:
                    with self._lock:
                        self.health.failed(index, int(self._clock()))
            elif self.health.fails(index):
                with self._lock:
                    self.health.passed(index, int(self._clock()))

    # --- keeping up ----------------------------------------------------------------------------------------------------

    def _tick(self, now: int) -> None:
        """Once a second: look whether a worker died."""
        self._second = now
        if self.zone.reaped != now:
            self.zone.reaped = now
            self.zone.reap()
        for ranked in self._ranked:
            if ranked.ages:
                ranked.update(ranked.group.peers, now)

    def _reorder(self, now: int) -> None:
        """Put the peers whose connections changed where they belong, in pools that are kept in order."""
        changed = self.counts.changed or []
        peers = [self.peers[index] for index in set(changed)]
        changed.clear()
        for ranked in self._ranked:
            ranked.update((peer for peer in peers if peer.group is ranked.group), now)

    def _refresh(self, now: int) -> None:
        """Something changed, by someone's doing or by time: see anew who is ready."""
        health = self.health
        self._epoch = health.epoch
        self._next = _NEVER
        failures = health.failures()
        notable = health.notable()
        changed = False
        watched = {self.peers[index] for index in notable}
        touched = watched | self._watched
        for peer in touched:
            index = peer.index
            if failures[index] != peer.failures:
                self._weaken(peer, failures[index] - peer.failures)
                peer.failures = failures[index]
            closed = not self.single and health.closed(index, now)
            if closed:
                self._next = min(self._next, health.reopens(index))
            peer.suspect = not self.single and health.fails(index) > 0
            ready = not (closed or peer.server.down or peer.server.drain)
            if ready != peer.ready:
                peer.ready = ready
                changed = True
        self._watched = watched
        touched.update(self._ramped)
        for peer in self._ramped:
            share = health.share(peer.index, now)
            peer.weight = peer.nominal * share if share < 1 else peer.nominal
            peer.effective = min(peer.effective, peer.weight)
            if share < 1:
                self._next = min(self._next, now + 1)
        if changed:
            for group in self._groups:
                group.ready = [peer for peer in group.peers if peer.ready]
        for ranked in self._ranked:
            ours = [peer for peer in touched if peer.group is ranked.group]
            ranked.update(ours, now)
            for peer in ours:
                ranked.rejoin(peer)

    def _weaken(self, peer: Peer, failures: int) -> None:
        limit = peer.server.max_fails
        if limit and not self.single:
            peer.effective = max(0, peer.effective - failures * (peer.nominal // limit))

    # --- sessions that stay with a server ------------------------------------------------------------------------------

    def _wanted(self, x: Any) -> Peer | None:
        """The peer the client's cookie names, if it may be used; `drain` lets sessions stay where they are."""
        assert self.sticky is not None
        wanted = cookie(x.header("Cookie"), self.sticky.cookie)
        if not wanted:
            return None
        conns, now = self.counts.totals, int(self._clock())
        for peer in self.peers:
            if peer.sid == wanted:
                server = peer.server
                full = server.max_conns and conns[peer.index] >= server.max_conns
                tried = x.tried is not None and peer in x.tried
                if not (tried or server.down or full or self.health.closed(peer.index, now)):
                    return peer
        return None

    def sticky_cookie(self, peer: Peer) -> str | None:
        """The Set-Cookie value that keeps the client with `peer`; None without `sticky`."""
        if self.sticky is None:
            return None
        parts = [f"{self.sticky.cookie}={peer.sid}"]
        if self.sticky.expires is not None:
            seconds = int(self.sticky.expires)
            until = time.strftime("%a, %d-%b-%y %H:%M:%S GMT", time.gmtime(self._clock() + seconds))
            parts += [f"expires={until}", f"max-age={seconds}"]
        if self.sticky.domain:
            parts.append(f"domain={self.sticky.domain}")
        parts += self.sticky.flags
        if self.sticky.path:
            parts.append(f"path={self.sticky.path}")
        return "; ".join(parts)

    # --- for the status page ---------------------------------------------------------------------------------------------

    def standing(self) -> list[tuple[Peer, int, bool, Standing]]:
        """Each peer with its open connections, whether it may be chosen now, and its numbers."""
        with self._guard:
            self.counts.sync()
            self._refresh(int(self._clock()))
            return [(peer, self.counts.totals[peer.index], peer.ready, self.health.standing(peer.index)) for peer in self.peers]


def cookie(header: str, name: str) -> str:
    """The value of a cookie in a Cookie field, empty when it is not there."""
    for pair in header.split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""


def check(servers: tuple[config.Server, ...], policy: Any, name: str) -> None:
    """ConfigError when these servers and this policy do not go together, in nginx's words."""
    if not any(not server.backup for server in servers):
        raise ConfigError(Fault(f'no servers are inside upstream "{name}"'))
    method = policy.name if isinstance(policy, config.Policy) else policy
    for server in servers:
        place = server.place
        if server.backup and method in ("hash", "ip_hash", "random"):
            raise ConfigError(
                Fault("balancing method does not support parameter \"backup\"", place.file, place.line)
            )
