"""Policies for large groups: peers kept in order by rank, and moved when their rank changes.

Rules:
- The rank is a number: connections per weight, estimated time per weight, or the same for all peers. Peers of equal rank take
  turns (rotation.py). The choices equal those of the walking policy; the tests compare them.
- A choice costs nothing for a peer whose connections, response times and health have not changed since the last choice.
- A rank is the quotient of two integers as a float. Equal quotients are equal floats, and different ones differ as long as both
  integers have fewer than 26 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

from .. import config
from .least_time import LeastTime
from .peers import Peer, PeerGroup, Tried
from .rotation import Rotation


class Ranking:
    """Rotations by rank, the lowest first."""

    __slots__ = ("_always_turn", "_peers", "_ranks", "_rotations")

    def __init__(self, peers: Sequence[Peer], always_turn: bool) -> None:
        self._peers = peers
        self._always_turn = always_turn
        self._rotations: dict[float, Rotation] = {}
        # A heap of the ranks in `_rotations`. An empty rotation is removed when it reaches the head.
        self._ranks: list[float] = []

    def enter(self, peer: Peer, rank: float) -> None:
        """Add a peer that is in no rotation."""
        peer.rank = rank
        rotation = self._rotations.get(rank)
        if rotation is None:
            rotation = self._rotations[rank] = Rotation(self._peers)
            heappush(self._ranks, rank)
        rotation.join(peer)

    def first(self) -> Peer | None:
        """Return the peer whose turn it is among those of the lowest rank; None if there are no peers."""
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
    """A policy that keeps the peers of a group in order by rank; a subclass defines the rank.

    The pool calls `update` for each peer whose rank or readiness may have changed: after a change of its connections if
    `by_conns`, and every second if `ages`.
    """

    def __init__(self, group: PeerGroup, *, by_conns: bool = True, ages: bool = False, always_turn: bool = False) -> None:
        self.group = group
        self.by_conns = by_conns or group.limited
        self.ages = self.measures = ages
        self._ranking = Ranking(group.peers, always_turn)

    def rank(self, peer: Peer, now: int) -> float:
        """Return the rank of a peer. The lowest rank is chosen."""
        return 0.0

    def update(self, peers: Iterable[Peer], now: int) -> None:
        """Move each of the peers to the rotation of its present rank, or out of all if it does not fit."""
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
        """Enter the peer again after a change of its weights."""
        if peer.rotation is not None:
            peer.rotation.leave(peer)
            self._ranking.enter(peer, peer.rank)

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return the fitting peer of the lowest rank whose turn it is; None if no peer fits."""
        if not tried:
            return self._ranking.first()
        aside = [peer for peer in tried if peer.group is self.group and peer.rotation is not None]
        for peer in aside:
            peer.rotation.leave(peer)  # type: ignore[union-attr]
        chosen = self._ranking.first()
        for peer in aside:
            self._ranking.enter(peer, peer.rank)
        return chosen


class RankedByTurn(Ranked):
    """The method round_robin for a large group."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        super().__init__(group, by_conns=False, always_turn=True)


class RankedByConns(Ranked):
    """The method least_conn for a large group."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        super().__init__(group)

    def rank(self, peer: Peer, now: int) -> float:
        return self.group.conns[peer.index] / peer.weight


class RankedByTime(Ranked):
    """The method least_time for a large group, without `inflight`."""

    def __init__(self, group: PeerGroup, walking: LeastTime) -> None:
        super().__init__(group, ages=True)
        self._walking = walking

    def rank(self, peer: Peer, now: int) -> float:
        return self._walking.estimate(peer, now) / peer.weight


def ranked_by_time(group: PeerGroup, policy: config.Policy) -> LeastTime | RankedByTime:
    """Return the policy of least_time for a large group. With `inflight` every estimate changes all the time, so it walks."""
    walking = LeastTime(group, policy)
    return walking if walking.inflight is not None else RankedByTime(group, walking)
