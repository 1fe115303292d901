"""The figures that a machine publishes in its description in Redis (`Membership.figures`).

Rules:
- The leader makes them once a second. They are few, because every machine reads those of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ... import __version__
from .. import metrics

if TYPE_CHECKING:
    from ...config import Config
    from ...keyval import Zones
    from ..metrics import Metrics


class Publisher:
    """The figures of this machine. `clock` returns monotonic seconds."""

    def __init__(self, config: Config, counted: Metrics, pairs: Zones, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._metrics = counted
        self._pairs = pairs
        self._clock = clock
        self._before: tuple[float, int] | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the figures as values for JSON. The rate is that since the last call; None at the first."""
        now, requests = self._clock(), self._requests()
        rate = None
        if self._before is not None and now > self._before[0]:
            rate = round((requests - self._before[1]) / (now - self._before[0]), 1)
        self._before = now, requests
        config = self._config
        return {
            "version": __version__,
            "requests": requests,
            "requests_per_second": rate,
            "limit_req": self._limits(metrics.LIMIT_REQ, config.limit_req_zones),
            "limit_conn": self._limits(metrics.LIMIT_CONN, config.limit_conn_zones),
            "keyval": _pairs(self._pairs.by_name),
            "sticky": _pairs(self._pairs.sessions),
        }

    def _requests(self) -> int:
        totals, _, _ = self._metrics.registry.group_totals(metrics.LOCATION, metrics.LOCATION_WORDS)
        return sum(totals[:6])

    def _limits(self, kind: int, zones: Mapping[str, Any]) -> dict[str, list[int]]:
        """Return the decisions of each zone with `sync`, in the order of LIMIT_STATES."""
        count = len(metrics.LIMIT_STATES)
        return {name: list(self._metrics.zone(kind, name).totals())[:count] for name, zone in zones.items() if zone.sync}


def _pairs(zones: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the number of pairs of each zone with `sync`, and that of the changes that other machines do not know."""
    return {name: [len(zone.entries()), len(zone.pending())] for name, zone in zones.items() if zone.sync}
