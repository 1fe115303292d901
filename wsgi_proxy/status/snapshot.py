"""The snapshot: all figures of a configuration as plain values, from which every form of the status is made.

Rules:
- Figures are sums over all workers, alive and dead, since the start of the main process. A reload of the same file keeps them.
- docs/monitoring.md has every name. Names and meanings stay. New ones may be added.
- Times are seconds since the epoch, durations seconds, sizes bytes. None stands for a value that is not known.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import locations_of
from ..tls import certificates_of
from . import metrics
from .board import BOARD
from .cluster import ClusterView, Publisher
from .counter import Counter, digest_of
from .figures import traffic
from .histogram import BOUNDS
from .history import History
from .metrics import Metrics
from .names import location_name
from .processes import process_of
from .upstreams import upstream_figures

if TYPE_CHECKING:
    from ..cluster import Membership
    from ..config import Config
    from ..keyval import Zone, Zones
    from ..upstream import Pool

SCHEMA = 1
"""The version of the JSON document; a name that is removed or changes its meaning raises it."""


class Sources:
    """The parts of a proxy that the snapshot reads."""

    def __init__(
        self,
        config: Config,
        counted: Metrics,
        pools: Mapping[str, Pool],
        cache: Any,
        server_names: Mapping[int, str],
        pairs: Zones | None = None,
        membership: Membership | None = None,
    ) -> None:
        self.config = config
        self.metrics = counted
        self.pools = pools
        self.cache = cache
        self.keyvals: Mapping[str, Zone] = pairs.by_name if pairs is not None else {}
        self.sessions: Mapping[str, Zone] = pairs.sessions if pairs is not None else {}
        self.cluster = None if membership is None else ClusterView(membership)
        if membership is not None and pairs is not None:
            membership.figures.append(Publisher(config, counted, pairs))
        self.server_names = server_names
        self.history = History(counted)
        self.certificates = certificates_of(config)
        self.locations = self._locations()

    def _locations(self) -> list[tuple[str, str, str, Counter]]:
        """Return (server, location, handler, counter) of each location that is counted, in the configuration's order."""
        found: dict[tuple[str, str], tuple[str, str, str, Counter]] = {}
        for server in self.config.servers:
            name = self.server_names[id(server)]
            for location in locations_of(replace(self.config, servers=(server,))):
                if location.handler not in ("status", "stub_status"):
                    key = (name, location_name(location))
                    found.setdefault(key, (*key, location.handler or "files", self.metrics.location(*key)))
        return list(found.values())


def snapshot(sources: Sources, with_history: bool = False) -> dict[str, Any]:
    """Return all figures, and the history of the last 15 minutes if it is asked for."""
    counted = sources.metrics
    now = time.time()
    totals, groups, counts = counted.registry.group_totals(metrics.LOCATION, metrics.LOCATION_WORDS)
    whole = traffic(totals)
    zones = _caches(sources)
    upstreams = upstream_figures(counted, sources.pools)
    board = BOARD.read()
    workers = counted.worker_totals()
    nothing = [0] * metrics.LOCATION_WORDS
    retries, _, _ = counted.registry.group_totals(metrics.RETRIES, len(metrics.RETRY_REASONS))
    return {
        "schema": SCHEMA,
        "version": __version__,
        "now": round(now, 3),
        "started": None if board is None else board["started"],
        "bucket_bounds": list(BOUNDS),
        "uptime": None if board is None else round(now - board["started"], 3),
        **({"history": sources.history.read(now)} if with_history else {}),
        **whole,
        "retries": sum(retries),
        "cache_hits": sum(zone["states"]["HIT"] for zone in zones.values()),
        "connections": {
            "active": workers[metrics.ACTIVE],
            "reading": workers[metrics.READING],
            "writing": workers[metrics.WRITING],
            "waiting": workers[metrics.WAITING],
            "accepted": workers[metrics.ACCEPTED],
        },
        "servers": [{"server": name, **traffic(groups.get(digest_of(name), nothing))} for name in sources.server_names.values()],
        "locations": [
            {"server": server, "location": location, "handler": handler, **traffic(counts[counter.digest])}
            for server, location, handler, counter in sources.locations
        ],
        "upstreams": upstreams,
        "retry_reasons": {name: _named(counted.retries(name), metrics.RETRY_REASONS) for name in sources.pools},
        "limits": {
            "limit_req": _limits(sources, metrics.LIMIT_REQ, sources.config.limit_req_zones),
            "limit_conn": _limits(sources, metrics.LIMIT_CONN, sources.config.limit_conn_zones),
        },
        "caches": zones,
        "keyvals": _pairs(sources.keyvals, "pairs"),
        "sessions": _pairs(sources.sessions, "sessions"),
        "cluster": sources.cluster and sources.cluster.read(now),
        "tls": _tls(sources, workers, now),
        "workers": [
            {
                "pid": row[metrics.PID],
                "started": row[metrics.BEGUN],
                "requests_begun": row[metrics.STARTED],
                "connections": row[metrics.ACTIVE],
                **process_of(row[metrics.PID]),
            }
            for row in counted.live_workers()
        ],
        "workers_started": workers[metrics.CLAIMS],
        "worker_deaths": None if board is None else board["worker_deaths"],
        "reloads": None if board is None else {key: board[key] for key in board if "reload" in key},
    }


def _tls(sources: Sources, workers: Sequence[int], now: float) -> dict[str, Any]:
    """Return the handshakes, and the certificates with the days that are left."""
    return {
        "handshakes": workers[metrics.HANDSHAKES],
        "resumed": workers[metrics.RESUMED],
        "failed": workers[metrics.HANDSHAKES_FAILED],
        "certificates": [
            {"path": path, "server": server, "not_after": end, "days": None if end is None else round((end - now) / 86400, 1)}
            for path, server, end in sources.certificates
        ],
    }


def _named(counter: Counter, names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, counter.totals(), strict=False))


def _limits(sources: Sources, kind: int, zones: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return the decisions of each zone by their names."""
    states = [state.lower() for state in metrics.LIMIT_STATES]
    return {name: _named(sources.metrics.zone(kind, name), states) for name in zones}


def _pairs(zones: Mapping[str, Zone], counted: str) -> dict[str, dict[str, Any]]:
    return {
        name: {counted: len(zone.entries()), "shared": zone.sync, "pending": len(zone.pending())} for name, zone in zones.items()
    }


def _caches(sources: Sources) -> dict[str, dict[str, Any]]:
    """Return the figures of each cache zone. `entries` is the number that the last sweep has found."""
    found = {}
    open_zones = {zone.settings.name: zone for zone in sources.cache.zones()}
    for name, settings in sources.config.cache_zones.items():
        states = _named(sources.metrics.zone(metrics.CACHE, name), metrics.CACHE_STATES)
        asked = sum(count for state, count in states.items() if state != "BYPASS")
        served = sum(states[state] for state in ("HIT", "STALE", "UPDATING", "REVALIDATED"))
        share = open_zones[name].share if name in open_zones else None
        found[name] = {
            "states": states,
            "ratio": round(served / asked, 4) if asked else None,
            "stale": states["STALE"] + states["UPDATING"],
            "bytes": None if share is None else share.size,
            "max_bytes": settings.max_size or None,
            "entries": None if share is None or not share.swept_at else share.entries,
            "entries_at": None if share is None else share.swept_at or None,
        }
    return found
