"""The cluster as one machine sees it through Redis: its machines, and the totals of the zones with `sync`.

Rules:
- While Redis does not answer, the machines are those last seen, and `reachable` is False.
- Decisions are summed over the living machines, so the totals fall when a machine leaves. Every machine has all pairs, so their
  number is that of the machine with the most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import metrics

if TYPE_CHECKING:
    from ...cluster import Machine, Membership


class ClusterView:
    """The cluster of one membership. `clock` returns monotonic seconds."""

    def __init__(self, membership: Membership, clock: Callable[[], float] = time.monotonic) -> None:
        self._membership = membership
        self._clock = clock
        self._machines: list[Machine] = []
        self._read_at = 0.0

    def read(self, now: float) -> dict[str, Any]:
        """Return the figures at `now`, seconds since the epoch."""
        membership, reachable = self._membership, True
        try:
            self._machines = membership.machines()
            self._read_at = self._clock()
        except OSError:
            reachable = False  # the link has logged it
        passed = self._clock() - self._read_at
        return {
            "name": membership.settings.name,
            "reachable": reachable,
            "machine": membership.machine,
            "machines": [_machine(each, now, passed) for each in self._machines],
            "zones": _zones(self._machines),
        }


def _machine(machine: Machine, now: float, passed: float) -> dict[str, Any]:
    figures = machine.figures
    return {
        "machine": machine.id,
        "host": machine.name,
        "version": figures.get("version"),
        "since": machine.since,
        "uptime": round(max(0.0, now - machine.since), 1),
        "workers": machine.workers,
        "requests": figures.get("requests"),
        "requests_per_second": figures.get("requests_per_second"),
        "last_seen": round(machine.seen + passed, 1),
    }


def _zones(machines: Sequence[Machine]) -> dict[str, dict[str, dict[str, int]]]:
    """Return the totals by kind and zone."""
    states = [state.lower() for state in metrics.LIMIT_STATES]
    found: dict[str, dict[str, dict[str, int]]] = {}
    for kind in ("limit_req", "limit_conn"):
        found[kind] = {
            name: dict(zip(states, map(sum, zip(*rows, strict=True)), strict=True))
            for name, rows in _rows(machines, kind).items()
        }
    for kind, counted in (("keyval", "pairs"), ("sticky", "sessions")):
        found[kind] = {
            name: {counted: max(row[0] for row in rows), "pending": sum(row[1] for row in rows)}
            for name, rows in _rows(machines, kind).items()
        }
    return found


def _rows(machines: Sequence[Machine], kind: str) -> dict[str, list[list[int]]]:
    """Return the figures of each machine by zone."""
    rows: dict[str, list[list[int]]] = {}
    for machine in machines:
        for name, row in machine.figures.get(kind, {}).items():
            rows.setdefault(name, []).append(row)
    return rows
