"""The proxy's counters, shared by its workers.

Rules:
- Each worker slot of the zone has a row of 64-bit words. A worker writes only to its row, so counting needs no lock.
- Counters only grow: a new worker in a slot continues the counters of the previous one. Gauges (connections) are summed over
  live workers only.
- A finished request is counted once, from its Exchange. Connections, and requests that begin, are counted by ProxyWorker's
  `Service` in this row; under other workers only requests are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..shm import SharedMemory

REQUESTS, BODY_BYTES, UPSTREAM_FAILURES, CACHE_HITS, STATUS = range(5)
"""Indexes into a row. From STATUS on there is one word for each status class, 0 (no status) to 5."""
_SERVED = 10
"""The index of the words that ProxyWorker's `Service` counts in (`worker.counts`)."""
ACCEPTED, STARTED, ACTIVE, READING, WRITING, WAITING = range(_SERVED, _SERVED + 6)
"""Connections accepted, requests begun, and nginx's four gauges of connections (ngx_http_stub_status_module)."""
_WORDS = 24
_GAUGES = range(ACTIVE, WAITING + 1)


class Metrics:
    """The counters of one configuration."""

    def __init__(self, zone: SharedMemory) -> None:
        self._zone = zone
        self._rows = zone.workers_max
        self._words = zone.area("metrics", self._rows * _WORDS * 8).cast("q")
        self._base = -1
        self._fork = zone.when_forked(self.forked)

    def forked(self) -> None:
        """Forget the row after a fork: the new process has another slot."""
        self._base = -1

    def _row(self) -> int:
        """Return the index of this worker's row, whose gauges are 0 at first."""
        base = self._base = self._zone.slot * _WORDS
        for index in _GAUGES:
            self._words[base + index] = 0
        return base

    def count_for(self, service: Any) -> None:
        """Let a worker's `Service` count in this worker's row from now on, unless it counts in another proxy's already."""
        base = self._row() if self._base < 0 else self._base
        service.count_in(self._words[base + _SERVED : base + _WORDS])

    def started(self) -> None:
        """Count a request that begins, under a worker that does not count by itself."""
        base = self._row() if self._base < 0 else self._base
        self._words[base + STARTED] += 1

    def record(self, exchange: Exchange) -> None:
        """Count a finished exchange."""
        base = self._row() if self._base < 0 else self._base
        words = self._words
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

    def connections(self) -> dict[str, int]:
        """Return nginx's four gauges of connections. Workers other than ProxyWorker count none; the asking request has one."""
        totals = self.totals()
        return {
            "active": max(1, totals[ACTIVE]),
            "reading": totals[READING],
            "writing": max(1, totals[WRITING]),
            "waiting": totals[WAITING],
        }

    def totals(self) -> list[int]:
        """Return the sums of all rows by index. Gauges are summed over live workers only."""
        self._zone.reap()
        live = {slot for slot, _ in self._zone.living()}
        sums = [0] * _WORDS
        for slot in range(self._rows):
            row = self._words[slot * _WORDS : (slot + 1) * _WORDS].tolist()
            for index, value in enumerate(row):
                if index not in _GAUGES or slot in live:
                    sums[index] += value
        return sums
