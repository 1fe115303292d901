"""The present peers of a pool: servers and backups, each group with its policy, and the peers that are ready.

Rules:
- A peer is ready unless health.py closes it, or the configuration or an operator stops it. The state that policies read is
  updated only when the health's epoch has changed, or at a time at which it changes by itself.
- A failure reduces a peer's weight in every worker, when the worker notices it.
- A new set of addresses gets a new Lineup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..balance import Balancer, Inflight, Peer, PeerGroup, Ranked
from ..config import Server
from .columns import Columns

_NEVER: Final = float("inf")


class Lineup:
    """The peers in two groups. `make` returns the group and policy for peers; `suspect(server, now)` gets closed servers."""

    def __init__(
        self,
        peers: list[Peer],
        columns: Columns,
        make: Callable[[Sequence[Peer]], tuple[PeerGroup, Balancer]],
        suspect: Callable[[Server, float], None],
    ) -> None:
        self.peers = peers
        self._columns = columns
        self._suspect = suspect
        self.single = len(peers) == 1
        """True for one peer alone, which failures do not close."""
        self.tries_limit = sum(not (peer.server.down or peer.server.drain) for peer in peers)
        self._groups: list[PeerGroup] = []
        self.main = self._make_group(make, [peer for peer in peers if not peer.backup])
        self.backup = self._make_group(make, [peer for peer in peers if peer.backup])
        self.confirm: Any = getattr(self.main, "confirm", None) if self.single else None
        """Asks the user's policy about a single peer; None for nginx's policies, which have no choice."""
        policies = [policy for policy in (self.main, self.backup) if policy is not None]
        self.measures = any(getattr(policy, "measures", False) for policy in policies)
        """True if a policy depends on response times."""
        self.limited = any(group.limited for group in self._groups)
        """True if a server has `max_conns`."""
        inflight = [getattr(policy, "inflight", None) for policy in policies]
        self.inflight: dict[PeerGroup | None, Inflight] = {each.group: each for each in inflight if each is not None}
        self._ranked = [policy for policy in policies if isinstance(policy, Ranked)]
        columns.counts.changed = [] if any(ranked.by_conns for ranked in self._ranked) else None
        self._ramped = [peer for peer in peers if peer.server.slow_start and not self.single]
        self._watched: set[Peer] = set(peers)
        self.epoch = -1
        """The health's epoch at the last refresh."""
        self.next_change = 0.0
        """The time of the next change that time alone causes, in seconds since the epoch."""

    def _make_group(self, make: Callable[[Sequence[Peer]], tuple[PeerGroup, Balancer]], peers: list[Peer]) -> Balancer | None:
        if not peers:
            return None
        group, policy = make(peers)
        self._groups.append(group)
        return policy

    def dissolve(self) -> list[Peer]:
        """Return the peers with their present weights. The lineup must not be used afterwards."""
        for peer in self.peers:
            if peer.rotation is not None:
                peer.rotation.leave(peer)
        return self.peers

    def only(self, peer: Peer) -> Peer | None:
        """Return the single peer, if it may be used, even if it was tried before."""
        return peer if self._groups[0].fits(peer, None) else None

    def age(self, now: int) -> None:
        """Update the policies whose ranks change every second."""
        for ranked in self._ranked:
            if ranked.ages:
                ranked.update(ranked.group.peers, now)

    def reorder(self, now: int) -> None:
        """Move the peers whose connections changed, in groups that are kept in order."""
        changed = self._columns.counts.changed
        if not changed:
            return
        peers = [peer for index in set(changed) if (peer := self._columns.peers[index]) is not None]
        changed.clear()
        for ranked in self._ranked:
            ranked.update((peer for peer in peers if peer.group is ranked.group), now)

    def refresh(self, now: int) -> None:
        """Determine which peers are ready, after a change of the health or at `next_change`."""
        health = self._columns.health
        self.epoch = health.epoch
        self.next_change = _NEVER
        failures = health.failures()
        watched = {peer for index in health.notable() if (peer := self._columns.peers[index]) is not None}
        touched = watched | self._watched
        self._watched = watched
        changed = [peer for peer in touched if self._judge(peer, failures[peer.index], now)]
        for peer in self._ramped:
            share = health.share(peer.index, now)
            peer.weight = peer.nominal * share if share < 1 else peer.nominal
            peer.effective = min(peer.effective, peer.weight)
            if share < 1:
                self.next_change = min(self.next_change, now + 1)
        if changed:
            for group in self._groups:
                group.ready = [peer for peer in group.peers if peer.ready]
        touched.update(self._ramped)
        for ranked in self._ranked:
            ours = [peer for peer in touched if peer.group is ranked.group]
            ranked.update(ours, now)
            for peer in ours:
                ranked.rejoin(peer)

    def _judge(self, peer: Peer, failures: int, now: int) -> bool:
        """Apply the health of one peer. Return True if its readiness has changed."""
        health, index = self._columns.health, peer.index
        if failures != peer.failures:
            limit = peer.server.max_fails
            if limit and not self.single:
                peer.effective = max(0, peer.effective - (failures - peer.failures) * (peer.nominal // limit))
            peer.failures = failures
        # Failures do not close a single server, but active checks do.
        closed = health.barred(index) if self.single else health.closed(index, now)
        if closed:
            self.next_change = min(self.next_change, max(health.reopens(index), now + 1))
            self._suspect(peer.server, now)
        peer.suspect = not self.single and health.fails(index) > 0
        ready = not (closed or health.stopped(index, peer.server))
        changed, peer.ready = ready != peer.ready, ready
        return changed
