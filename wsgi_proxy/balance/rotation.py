"""Smooth weighted round robin, the tie breaker of every policy: by a walk over the peers, and without one.

Rules (ngx_http_upstream_round_robin):
- At each choice everyone who fits grows by its effective weight; the largest is taken, the first one on a tie, and pays
  for all of them. Weights 5, 1, 1 give 1 1 2 1 3 1 1.
- An effective weight that failures brought down is regained by one at each choice.

A Rotation gives the same sequence at a cost that hangs on the number of different weights and not on that of the peers:
members of equal weight grow in step, so their order among each other changes only by paying. Each weight has a heap by what a
member has beyond the common growth, and a choice compares the heads. The few members that are regaining weight are walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from .peers import Peer

_NOWHERE = float("inf")


def round_robin(candidates: Iterable[Peer]) -> Peer | None:
    """One step of smooth weighted round robin: everyone grows by its weight, the largest is taken and pays for all."""
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
    """The first half of a step, when who is taken is known already: everyone grows; what the one taken has to pay."""
    total = 0.0
    for peer in candidates:
        peer.current += peer.effective
        total += peer.effective
        peer.effective = min(peer.effective + 1.0, peer.weight)
    return total


class Rotation:
    """Members that take turns by weight. While a peer is a member its `current` is kept here, and put back when it leaves."""

    __slots__ = ("_heaps", "_joined", "_peers", "_regaining", "_rounds", "_total", "count")

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers
        """All peers of the group, by `Peer.order`."""
        # Heaps of (-(current - rounds * weight), order); an entry that its peer no longer confirms is void.
        self._heaps: dict[float, list[tuple[float, int]]] = {}
        # Who joined since the last turn: most of those that wait behind others leave again before it is their turn.
        self._joined: dict[Peer, None] = {}
        self._regaining: dict[Peer, None] = {}
        self._rounds = 0.0
        self._total = 0.0
        self.count = 0

    def join(self, peer: Peer) -> None:
        peer.rotation = self
        self.count += 1
        self._joined[peer] = None

    def leave(self, peer: Peer) -> None:
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

    def _take_in(self) -> None:
        """Those who joined get their places; no turn has passed since."""
        for peer in self._joined:
            if peer.effective == peer.weight == peer.full:
                self._place(peer)
            else:
                peer.offset = _NOWHERE
                self._regaining[peer] = None
        self._joined.clear()

    def _place(self, peer: Peer) -> None:
        weight = peer.full
        self._total += weight
        offset = peer.offset = peer.current - self._rounds * weight
        heap = self._heaps.get(weight)
        if heap is None:
            heap = self._heaps[weight] = []
        elif len(heap) > 2 * self.count + 32:
            heap[:] = {entry for entry in heap if self._confirmed(entry)}
            heapify(heap)
        heappush(heap, (-offset, peer.order))

    def _confirmed(self, entry: tuple[float, int]) -> bool:
        peer = self._peers[entry[1]]
        return peer.rotation is self and peer.offset == -entry[0]

    def only(self) -> Peer:
        """The one member there is, whose turn it is without anyone growing."""
        if self._joined:
            self._take_in()
        for peer in self._regaining:
            return peer
        for heap in self._heaps.values():
            while heap:
                if self._confirmed(heap[0]):
                    return self._peers[heap[0][1]]
                heappop(heap)
        raise LookupError("a rotation without members")

    def turn(self) -> Peer:
        """One step; there must be a member."""
        if self._joined:
            self._take_in()
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
            self._place_regained()
        return best

    def _place_regained(self) -> None:
        for peer in [peer for peer in self._regaining if peer.effective == peer.weight == peer.full]:
            del self._regaining[peer]
            self._place(peer)
