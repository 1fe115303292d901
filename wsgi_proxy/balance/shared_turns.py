"""Turns that all workers take together, for an upstream with a `zone`: the round robin weights lie in shared memory.

Rules:
- Without `zone`, each worker takes turns by itself, as in nginx. Connection counts and failures are shared either way.
- A choice is made under the pool's lock: it loads the weights, lets the policy choose, and stores the changed weights.
- Weights are stored in 64ths, for slow start. The stored number is the weight lost by failures, so that zero is the initial
  state.
- Groups of more than SHARED_MAX servers take turns per worker, because a choice costs a look at each server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..shm import SharedLock, SharedMemory
from .peers import Peer, PeerGroup, Tried

if TYPE_CHECKING:
    from .policies import Balancer

SHARED_MAX = 64


class SharedTurns:
    """A walking policy whose peers' weights lie in shared memory."""

    def __init__(self, group: PeerGroup, policy: Balancer, memory: SharedMemory, name: str, lock: SharedLock) -> None:
        self.group = group
        self.policy = policy
        self.measures = getattr(policy, "measures", False)
        self.inflight = getattr(policy, "inflight", None)
        self._lock = lock
        count = len(group.conns)
        words = memory.area(f"{name}/turns", 3 * 8 * count).cast("q")
        self._current, self._lost, self._applied = (words[part * count : (part + 1) * count] for part in range(3))

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return the policy's choice, made with the shared weights."""
        with self._lock:
            before = self._load()
            peer = self.policy.pick(exchange, tried, now)
            self._store(before)
        return peer

    def stay(self, peer: Peer, tried: Tried) -> None:
        """Count a request of a sticky session as its peer's turn (`RoundRobin.stay`)."""
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
        """Subtract the failures that no worker has subtracted yet from the shared weight."""
        index, limit = peer.index, peer.server.max_fails
        new = peer.failures - self._applied[index]
        if new > 0:
            if limit:
                lost = self._lost[index] + 64 * new * (peer.nominal // limit)
                self._lost[index] = min(lost, 64 * peer.nominal)
            self._applied[index] = peer.failures
