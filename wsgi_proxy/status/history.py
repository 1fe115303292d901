"""The history of the last 15 minutes: cumulative counts, noted every five seconds by one process.

Rules:
- The process that holds the lock of the leader writes. When it ends, another worker takes over at the next turn.
- The ring lies in shared memory and has a fixed size. Every worker can read it.
- A point is valid while its first word has its time. The writer clears that word before and sets it after the others.
"""

from __future__ import annotations

import time
from typing import Any

from . import histogram, metrics
from .metrics import Metrics

STEP = 5
"""Seconds between two points."""
SPAN = 900
"""Seconds that the history covers."""
_POINTS = SPAN // STEP + 4
_AT, _CLASSES, _SENT, _TIMES = 0, 1, 7, 8
_WORDS = _TIMES + histogram.BUCKETS


class History:
    """The ring of points of one configuration file."""

    def __init__(self, counted: Metrics) -> None:
        self._metrics = counted
        self._memory = counted.registry.memory
        self._words = self._memory.area("status/history", 8 * _POINTS * _WORDS).cast("q")
        self._last = 0

    def tick(self, now: float | None = None) -> None:
        """Note the present counts if a step has passed; the upkeep calls it once a second."""
        at = int(time.time() if now is None else now) // STEP
        if at == self._last:
            return
        self._last = at
        if not self._memory.lead("status/history"):
            return
        totals, _, _ = self._metrics.registry.group_totals(metrics.LOCATION, metrics.LOCATION_WORDS)
        start = at % _POINTS * _WORDS
        words = self._words
        words[start + _AT] = 0
        for index, value in enumerate([*totals[:6], totals[metrics.SENT], *totals[metrics.TIMES :]]):
            words[start + _CLASSES + index] = value
        words[start + _AT] = at * STEP

    def read(self, now: float | None = None) -> dict[str, Any]:
        """Return the step and the points: [time, seconds, requests by class 1xx to 5xx, bytes sent, [p50, p90, p99]] of each."""
        now = time.time() if now is None else now
        flat = self._words.tolist()
        rows = [flat[at : at + _WORDS] for at in range(0, len(flat), _WORDS)]
        rows = sorted(row for row in rows if now - SPAN - STEP <= row[_AT] <= now)
        points = []
        for before, row in zip(rows, rows[1:], strict=False):
            change = [a - b for a, b in zip(row, before, strict=True)]
            if min(change) >= 0:
                spans = list(histogram.percentiles(change[_TIMES:]).values())
                points.append([row[_AT], change[_AT], change[_CLASSES + 1 : _SENT], change[_SENT], spans])
        return {"step": STEP, "points": points}
