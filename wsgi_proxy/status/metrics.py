"""What the proxy counts about itself, shared by its workers.

Rules:
- A row of 64-bit words for each worker slot in the zone; a worker writes only its own row, so counting needs no lock.
- Counters only grow: a new worker in a slot goes on from where the last one stopped. Gauges (connections) are the living's.
- One read of the Exchange's record at its end is all that a request pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..shm import Zone

REQUESTS, BODY_BYTES, UPSTREAM_FAILURES, CACHE_HITS, CONNECTIONS, BUSY, ACCEPTED, STATUS = range(8)
"""Words of a row; from STATUS on, one for each class of status, 0 (no status) to 5."""
_WORDS = 16


class Metrics:
    """The counters of one configuration."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._rows = zone.workers_max
        self._words = zone.area("metrics", self._rows * _WORDS * 8).cast("q")
        self._base = -1
        self._connections: set[object] | None = None
        self._fork = zone.when_forked(self.forked)

    def forked(self) -> None:
        """A new process has a slot of its own."""
        self._base = -1

    def record(self, exchange: Exchange) -> None:
        """Count an exchange that has ended."""
        base = self._base
        words = self._words
        if base < 0:
            base = self._base = self._zone.slot * _WORDS
            words[base + CONNECTIONS] = words[base + BUSY] = 0
        words[base] += 1
        words[base + BODY_BYTES] += exchange.body_bytes_sent
        words[base + STATUS + exchange.status // 100] += 1
        if len(exchange.tries) > 1:
            # The first of each group is no failure of the one before it; a try without an address parts two groups.
            words[base + UPSTREAM_FAILURES] += max(
                0, len(exchange.tries) - 1 - 2 * sum(not attempt.address for attempt in exchange.tries)
            )
        if exchange.cache_status == "HIT":
            words[base + CACHE_HITS] += 1
        connection = exchange.connection
        if connection is not None:
            service = connection.service
            words[base + CONNECTIONS] = len(service.connections)
            words[base + BUSY] = service.crew.busy - 1
            if connection.requests == 1:
                words[base + ACCEPTED] += 1

    def totals(self) -> list[int]:
        """The sum of all rows; of the gauges, of the rows of the living."""
        self._zone.reap()
        living = {slot for slot, _ in self._zone.living()}
        sums = [0] * _WORDS
        for slot in range(self._rows):
            row = self._words[slot * _WORDS : (slot + 1) * _WORDS].tolist()
            for which, value in enumerate(row):
                if which not in (CONNECTIONS, BUSY) or slot in living:
                    sums[which] += value
        return sums
