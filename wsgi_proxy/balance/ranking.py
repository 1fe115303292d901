"""Least of something, for pools too large to be walked: peers in rotations by rank, moved when their rank changes.

Rules:
- The rank is a number the policy gives a peer (connections per weight, estimated time per weight, or the same for all);
  those of equal rank take turns (rotation.py). The choice is the same as the walk's, which the tests compare.
- Nothing is looked at but peers whose connections, response times or health changed since the last choice.
- Ranks are quotients of two integers as floats: equal quotients are equal floats, and different ones differ as long as
  both integers have fewer than 26 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

from .peers import Peer, PeerGroup, Tried
from .rotation import Rotation


class Ranking:
    """Rotations by rank, the lowest first."""

    __slots__ = ("_always_turn", "_peers", "_ranks", "_rotations")

    def __init__(self, peers: Sequence[Peer], always_turn: bool) -> None:
        self._peers = peers
        self._always_turn = always_turn
        self._rotations: dict[float, Rotation] = {}
        # A heap of the ranks in `_rotations`; empty rotations are dropped when they come to its head.
        self._ranks: list[float] = []

    def enter(self, peer: Peer, rank: float) -> None:
        peer.rank = rank
        rotation = self._rotations.get(rank)
        if rotation is None:
            rotation = self._rotations[rank] = Rotation(self._peers)
            heappush(self._ranks, rank)
        rotation.join(peer)

    def first(self) -> Peer | None:
        """Whose turn it is among those of the lowest rank."""
        ranks = self._ranks
        while ranks:
            rotation = self._rotations[ranks[0]]
            if rotation.count > 1 or (rotation.count and self._always_turn):
                return rotation.turn()
            if rotation.count:
                return rotation.only()
            del self._rotations[heappop(ranks)]
        return None


class Ranked:
    """A policy that chooses by rank without walking. `update` must be called for each peer whose rank or readiness may have
    changed: when its connections did if `by_conns`, and every second if `ages`. The rank is a subclass's to say; here all have
    the same."""

    def __init__(self, group: PeerGroup, *, by_conns: bool = True, ages: bool = False, always_turn: bool = False) -> None:
        self.group = group
        self.by_conns = by_conns or group.limited
        self.ages = self.measures = ages
        self._ranking = Ranking(group.peers, always_turn)

    def rank(self, peer: Peer, now: int) -> float:
        """The lowest is chosen."""
        return 0.0

    def update(self, peers: Iterable[Peer], now: int) -> None:
        """Put each of the peers where it belongs now."""
        group, ranking = self.group, self._ranking
        limited = group.limited
        for peer in peers:
            fits = peer.ready and (not limited or group.fits(peer, None))
            new = self.rank(peer, now) if fits else 0.0
            rotation = peer.rotation
            if rotation is not None:
                if fits and peer.rank == new:
                    continue
                rotation.leave(peer)
            if fits:
                ranking.enter(peer, new)

    def rejoin(self, peer: Peer) -> None:
        """The peer's weights changed."""
        if peer.rotation is not None:
            peer.rotation.leave(peer)
            self._ranking.enter(peer, peer.rank)

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
        if not tried:
            return self._ranking.first()
        aside = [peer for peer in tried if peer.group is self.group and peer.rotation is not None]
        for peer in aside:
            peer.rotation.leave(peer)  # type: ignore[union-attr]
        chosen = self._ranking.first()
        for peer in aside:
            self._ranking.enter(peer, peer.rank)
        return chosen
