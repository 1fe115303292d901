"""The columns of a pool's shared numbers, one for each address.

Rules:
- Without names to resolve, the columns are in the configuration's order.
- With names, workers may see different addresses at different times. A table in shared memory gives an address the same column in
  all workers. The numbers of an address stay when others appear and disappear.
- The number of columns follows from the configuration alone, so that all workers map the same memory.
- When no column is free, one whose address is unknown to this worker and has no open connections is reassigned. Addresses beyond
  the number of columns are not used, and the log names their number.
- An address that joins the others, or returns, starts with the small weight of `slow_start`. The first set of addresses does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..balance import Health, Peer, size
from ..config import Server
from ..logs import errorlog
from ..shm import SharedLock, SharedMemory
from .counts import Counts

_PER_NAME = 256
_SPARE = 64


class Columns:
    """The shared numbers of a pool, and the peer of each column."""

    def __init__(
        self, memory: SharedMemory, name: str, lock: SharedLock, servers: Sequence[Server], names: int, sync: bool = False
    ) -> None:
        self._lock = lock
        self._count = count = len(servers) + (names * _PER_NAME + _SPARE if names else 0)
        self.counts = Counts(memory, name, count, sync)
        self.health = Health(memory.area(f"{name}/health", size(count)).cast("q"), [None] * count)
        self._table = memory.area(f"{name}/columns", 8 * count).cast("q") if names else None
        self.peers: list[Peer | None] = [None] * count
        """The peers by column."""

    def assign(self, peers: Sequence[Peer], now: int = 0) -> list[Peer]:
        """Assign a column to each peer. Return the peers that have one. A peer keeps its column.

        `now` is the time in seconds since the epoch, at which the `slow_start` of a new address begins.
        """
        if self._table is None:
            for index, peer in enumerate(peers):
                self._take(peer, index)
            return list(peers)
        placed = []
        with self._lock:
            table = self._table
            owners = table.tolist()
            column_of = {owner: index for index, owner in enumerate(owners) if owner}
            before = {index for index, peer in enumerate(self.peers) if peer is not None}
            self.peers = [None] * self._count
            keys = keys_of(peers)
            known = set(keys)
            free = [index for index, owner in enumerate(owners) if not owner]
            left = [index for index, owner in enumerate(owners) if owner and owner not in known and not self.counts.totals[index]]
            for peer, key in zip(peers, keys, strict=True):
                if key not in column_of:
                    if not free and not left:
                        continue
                    column_of[key] = index = free.pop(0) if free else left.pop(0)
                    self.health.clear(index)
                    peer.failures = 0
                    table[index] = key
                    if any(owners):
                        self.health.joined(index, now)
                elif self.health.absent(column_of[key]):
                    self.health.joined(column_of[key], now)
                self._take(peer, column_of[key])
                placed.append(peer)
            for index in before:
                if self.peers[index] is None:
                    self.health.left(index)
        if len(placed) < len(peers):
            errorlog.line(
                "error", f"{len(peers) - len(placed)} of {len(peers)} addresses are not used: {self._count} is the limit"
            )
        return placed

    def _take(self, peer: Peer, index: int) -> None:
        peer.index = index
        self.peers[index] = peer
        self.health.describe(index, peer.server)


def keys_of(peers: Sequence[Peer]) -> list[int]:
    """Return a number for each peer by its address. A configuration may name the same address more than once."""
    seen: dict[str, int] = {}
    keys = []
    for peer in peers:
        text = f"{peer.server.address} {peer.name}"
        seen[text] = seen.get(text, 0) + 1
        digest = hashlib.blake2b(f"{text} {seen[text]}".encode(), digest_size=8).digest()
        keys.append(int.from_bytes(digest, "little") >> 1 or 1)
    return keys
