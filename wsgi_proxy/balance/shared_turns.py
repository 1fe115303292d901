"""Turns that all workers take together, for an upstream with a `zone`: the round robin weights lie in shared memory.

Rules:
- Without `zone` each worker takes its own turns, as in nginx (open connections and failures are shared either way).
- A choice is made under the pool's lock: the weights are read, the policy chooses as always, what changed is written back.
- Weights are kept in 64ths, for slow start; what a peer lost by failures is kept, so that zero means a fresh start.
- For groups up to SHARED_MAX servers; larger ones take turns per worker, for this costs a look at each server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..shm import SharedLock, SharedMemory
from .peers import Peer, PeerGroup, Tried

if TYPE_CHECKING:
    from .policies import Balancer

SHARED_MAX = 64


class SharedTurns:
    """A walking policy whose peers' weights are shared."""

    def __init__(self, group: PeerGroup, policy: Balancer, memory: SharedMemory, name: str, lock: SharedLock) -> None:
        self.group = group
        self.policy = policy
        self.measures = getattr(policy, "measures", False)
        self.inflight = getattr(policy, "inflight", None)
        self._lock = lock
        count = len(group.conns)
        words = memory.area(f"{name}/turns", 3 * 8 * count).cast("q")
        self._current, self._lost, self._applied = (words[part * count : (part + 1) * count] for part in range(3))

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
        with self._lock:
            before = self._load()
            peer = self.policy.pick(x, tried, now)
            self._store(before)
        return peer

    def stay(self, peer: Peer, tried: Tried) -> None:
        """A session stays with its peer (`RoundRobin.stay`)."""
        stay = getattr(self.policy, "stay", None)
        if stay is not None:
            with self._lock:
                before = self._load()
                stay(peer, tried)
                self._store(before)

    def _load(self) -> list[tuple[float, float]]:
        currents, losses, applied = self._current, self._lost, self._applied
        before = []
        for peer in self.group.peers:
            index = peer.index
            if applied[index] != peer.failures:
                self._weaken(peer)
            current = peer.current = currents[index] / 64
            effective = peer.effective = max(0, peer.weight - losses[index] / 64)
            before.append((current, effective))
        return before

    def _store(self, before: list[tuple[float, float]]) -> None:
        currents, losses = self._current, self._lost
        for peer, (current, effective) in zip(self.group.peers, before, strict=True):
            if peer.current != current:
                currents[peer.index] = int(peer.current * 64)
            if peer.effective != effective:
                losses[peer.index] = int((peer.weight - peer.effective) * 64)

    def _weaken(self, peer: Peer) -> None:
        """Failures that no worker has taken off yet. Who knows of fewer than are taken off already leaves it at that."""
        index, limit = peer.index, peer.server.max_fails
        new = peer.failures - self._applied[index]
        if new > 0:
            if limit:
                lost = self._lost[index] + 64 * new * (peer.nominal // limit)
                self._lost[index] = min(lost, 64 * peer.nominal)
            self._applied[index] = peer.failures
