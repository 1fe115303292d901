"""Smooth weighted round robin, the method round_robin and the tie breaker of every policy.

Rules (ngx_http_upstream_round_robin):
- Each choice adds its effective weight to the current weight of every fitting peer. It takes the peer with the largest current
  weight, on a tie the first, and subtracts the sum of all effective weights from it. Weights 5, 1, 1 give 1 1 2 1 3 1 1.
- An effective weight that failures have reduced regains one at each choice.

A Rotation makes the same choices at a cost that depends on the number of different weights instead of the number of peers.
Members of equal weight grow in step, so their order changes only when one is chosen. Each weight has a heap of its members by
their current weight without the common growth, and a choice compares the heads. The few members that are regaining weight are
walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Final

from .. import config
from .peers import Peer, PeerGroup, Tried

_IN_NO_HEAP: Final = float("inf")


def round_robin(candidates: Iterable[Peer]) -> Peer | None:
    """Make one choice of smooth weighted round robin; None if there are no candidates."""
    best = None
    total = 0.0
    for peer in candidates:
        effective = peer.effective
        peer.current += effective
        total += effective
        if effective < peer.weight:
            peer.effective = min(effective + 1.0, peer.weight)
        if best is None or peer.current > best.current:
            best = peer
    if best is not None:
        best.current -= total
    return best


def grow(candidates: Iterable[Peer]) -> float:
    """Add the weights of a choice whose result is already known. Return the sum to subtract from the chosen peer."""
    total = 0.0
    for peer in candidates:
        peer.current += peer.effective
        total += peer.effective
        peer.effective = min(peer.effective + 1.0, peer.weight)
    return total


class RoundRobin:
    """The method round_robin for a small group. `ranking.RankedByTurn` makes the same choices in a large one."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return the fitting peer whose turn it is; None if no peer fits."""
        return round_robin(self.group.candidates(tried))

    def stay(self, peer: Peer, tried: Tried) -> None:
        """Count a request of a sticky session as its peer's turn, unless the peer is too far in debt already."""
        if peer.current > peer.nominal - sum(each.nominal for each in self.group.peers):
            total = grow(self.group.candidates(tried))
            peer.current -= total


class Rotation:
    """Members that take turns by weight. It holds a member's current weight, and writes it to the peer when the peer leaves."""

    __slots__ = ("_heaps", "_joined", "_peers", "_regaining", "_rounds", "_total", "count")

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers
        """All peers of the group, by `Peer.order`."""
        # Heaps of (-(current - rounds * weight), order) by weight. An entry is void if its peer has another offset by now.
        self._heaps: dict[float, list[tuple[float, int]]] = {}
        # Members added since the last turn. They are inserted lazily because most leave before they are considered.
        self._joined: dict[Peer, None] = {}
        self._regaining: dict[Peer, None] = {}
        self._rounds = 0.0
        self._total = 0.0
        self.count = 0

    def join(self, peer: Peer) -> None:
        """Add a peer that is in no rotation."""
        peer.rotation = self
        self.count += 1
        self._joined[peer] = None

    def leave(self, peer: Peer) -> None:
        """Remove a member."""
        peer.rotation = None
        self.count -= 1
        if peer in self._joined:
            del self._joined[peer]
        elif self._regaining and peer in self._regaining:
            del self._regaining[peer]
        else:
            self._total -= peer.full
            peer.current = peer.offset + self._rounds * peer.full
        if not self.count:
            self._heaps.clear()
            self._rounds = 0.0

    def _insert_joined(self) -> None:
        """Insert the members added since the last turn."""
        for peer in self._joined:
            if peer.effective == peer.weight == peer.full:
                self._insert(peer)
            else:
                peer.offset = _IN_NO_HEAP
                self._regaining[peer] = None
        self._joined.clear()

    def _insert(self, peer: Peer) -> None:
        weight = peer.full
        self._total += weight
        offset = peer.offset = peer.current - self._rounds * weight
        heap = self._heaps.get(weight)
        if heap is None:
            heap = self._heaps[weight] = []
        elif len(heap) > 2 * self.count + 32:
            heap[:] = {entry for entry in heap if self._is_valid(entry)}
            heapify(heap)
        heappush(heap, (-offset, peer.order))

    def _is_valid(self, entry: tuple[float, int]) -> bool:
        peer = self._peers[entry[1]]
        return peer.rotation is self and peer.offset == -entry[0]

    def only(self) -> Peer:
        """Return the only member, without a change of its weights."""
        if self._joined:
            self._insert_joined()
        for peer in self._regaining:
            return peer
        for heap in self._heaps.values():
            while heap:
                if self._is_valid(heap[0]):
                    return self._peers[heap[0][1]]
                heappop(heap)
        raise LookupError("a rotation without members")

    def turn(self) -> Peer:
        """Make one choice. There must be a member."""
        if self._joined:
            self._insert_joined()
        peers = self._peers
        self._rounds = rounds = self._rounds + 1.0
        best: Peer | None = None
        best_heap: list[tuple[float, int]] | None = None
        best_current = 0.0
        for weight, heap in self._heaps.items():
            while heap:
                negative, order = heap[0]
                peer = peers[order]
                if peer.rotation is self and peer.offset == -negative:
                    current = rounds * weight - negative
                    if best is None or current > best_current or (current == best_current and order < best.order):
                        best, best_current, best_heap = peer, current, heap
                    break
                heappop(heap)
        total = self._total
        if self._regaining:
            for peer in self._regaining:
                effective = peer.effective
                peer.current += effective
                total += effective
                if effective < peer.weight:
                    peer.effective = min(effective + 1.0, peer.weight)
                if best is None or (peer.current, -peer.order) > (best_current, -best.order):
                    best, best_current, best_heap = peer, peer.current, None
        assert best is not None
        if best_heap is not None:
            best.offset -= total
            heapreplace(best_heap, (-best.offset, best.order))
        else:
            best.current -= total
        if self._regaining:
            self._insert_regained()
        return best

    def _insert_regained(self) -> None:
        for peer in [peer for peer in self._regaining if peer.effective == peer.weight == peer.full]:
            del self._regaining[peer]
            self._insert(peer)
