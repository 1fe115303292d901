"""The proxy's counters, shared by its workers.

Rules:
- Each worker slot of the zone has a row of 64-bit words. A worker writes only to its row, so counting needs no lock.
- Counters only grow: a new worker in a slot continues the counters of the previous one. Gauges (connections) are summed over
  live workers only.
- A request is counted once, from its Exchange, when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..shm import SharedMemory

REQUESTS, BODY_BYTES, UPSTREAM_FAILURES, CACHE_HITS, CONNECTIONS, BUSY, ACCEPTED, STATUS = range(8)
"""Indexes into a row. From STATUS on there is one word for each status class, 0 (no status) to 5."""
_WORDS = 16


class Metrics:
    """The counters of one configuration."""

    def __init__(self, zone: SharedMemory) -> None:
        self._zone = zone
        self._rows = zone.workers_max
        self._words = zone.area("metrics", self._rows * _WORDS * 8).cast("q")
        self._base = -1
        self._connections: set[object] | None = None
        self._fork = zone.when_forked(self.forked)

    def forked(self) -> None:
        """Forget the row after a fork: the new process has another slot."""
        self._base = -1

    def record(self, exchange: Exchange) -> None:
        """Count a finished exchange."""
        base = self._base
        words = self._words
        if base < 0:
            base = self._base = self._zone.slot * _WORDS
            words[base + CONNECTIONS] = words[base + BUSY] = 0
        words[base] += 1
        words[base + BODY_BYTES] += exchange.body_bytes_sent
        words[base + STATUS + exchange.status // 100] += 1
        if len(exchange.tries) > 1:
            # The first attempt of a group does not follow a failure. An attempt without an address separates two groups.
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
        """Return the sums of all rows by index. Gauges are summed over live workers only."""
        self._zone.reap()
        live = {slot for slot, _ in self._zone.living()}
        sums = [0] * _WORDS
        for slot in range(self._rows):
            row = self._words[slot * _WORDS : (slot + 1) * _WORDS].tolist()
            for index, value in enumerate(row):
                if index not in (CONNECTIONS, BUSY) or slot in live:
                    sums[index] += value
        return sums
