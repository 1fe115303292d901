"""The figures of upstream servers: traffic, response times, and health in words.

Rules:
- A server's figures are those of its address, over all workers; a reload that keeps the address keeps them.
- `state` is nginx's word (ngx_http_api_module): `up`, `down`, `draining`, `unavail` after failures, `unhealthy` after checks,
  `checking` before the first check of a `mandatory` one.
- `reason` and `since` belong to a server that is out; `last_failure` is the last failed attempt, whatever followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import metrics
from .counter import read_text
from .figures import classes, durations
from .metrics import Metrics

if TYPE_CHECKING:
    from ..balance import Peer, Standing
    from ..upstream import Pool

_BAD = 2
"""A failed active check (`balance.health`)."""


def upstream_figures(counted: Metrics, pools: Mapping[str, Pool]) -> dict[str, list[dict[str, Any]]]:
    """Return the figures of each server by the name of its upstream."""
    return {name: [_server(counted, pool, *row) for row in pool.standing()] for name, pool in pools.items()}


def _server(counted: Metrics, pool: Pool, peer: Peer, connections: int, ready: bool, standing: Standing) -> dict[str, Any]:
    rows = counted.peer(pool, peer).counter.rows()
    words = [sum(column) for column in zip(*rows, strict=True)] or [0] * metrics.PEER_WORDS
    newest = max(rows, key=lambda row: row[metrics.FAILED_AT], default=words)
    checks = _checks(counted, pool, peer) if pool.name in counted.checked_pools else None
    state = _state(pool, peer, ready, standing)
    failure = (
        {"at": newest[metrics.FAILED_AT], "reason": read_text(newest, metrics.REASON)} if newest[metrics.FAILED_AT] else None
    )
    reason, since = _why(state, standing, failure, checks)
    header = words[metrics.HEADER_TIMES : metrics.RESPONSE_TIMES]
    response = words[metrics.RESPONSE_TIMES : metrics.PEER_WORDS]
    return {
        "server": peer.name,
        "weight": peer.server.weight,
        "backup": peer.backup,
        "down": peer.server.down,
        "available": ready,
        "state": state,
        "reason": reason,
        "since": since,
        "connections": connections,
        "fails": standing.fails,
        "tries": sum(words[:6]),
        "responses": classes(words),
        "failures": words[metrics.FAILED],
        "bytes_sent": words[metrics.PEER_SENT],
        "bytes_received": words[metrics.PEER_RECEIVED],
        "header": durations(words[metrics.HEADER_MICROSECONDS], header),
        "response": durations(words[metrics.RESPONSE_MICROSECONDS], response),
        "header_ms": _mean_ms(words[metrics.HEADER_MICROSECONDS], header),
        "response_ms": _mean_ms(words[metrics.RESPONSE_MICROSECONDS], response),
        "last_failure": failure,
        "checks": checks,
    }


def _mean_ms(microseconds: int, counts: list[int]) -> float | None:
    count = sum(counts)
    return round(microseconds / count / 1000, 3) if count else None


def _state(pool: Pool, peer: Peer, ready: bool, standing: Standing) -> str:
    if pool.health.refused(peer.index, peer.server):
        return "down"
    if pool.health.stopped(peer.index, peer.server):
        return "draining"
    if standing.check == _BAD:
        return "unhealthy"
    if pool.health.mandatory and not standing.check:
        return "checking"
    return "up" if ready else "unavail"


def _why(
    state: str, standing: Standing, failure: dict[str, Any] | None, checks: dict[str, Any] | None
) -> tuple[str | None, int | None]:
    """Return the reason why a server is out and the time since when, None for a server that is up."""
    if state == "unhealthy":
        return (checks["reason"], checks["since"]) if checks else ("health check failed", None)
    if state == "unavail":
        return (failure["reason"] if failure else "failed attempts"), standing.accessed or None
    said = "by an operator" if standing.forced else "configured"
    return {"down": said, "draining": said, "checking": "not checked yet"}.get(state), None


def _checks(counted: Metrics, pool: Pool, peer: Peer) -> dict[str, Any] | None:
    """Return the results of the active checks of a server; None before the first."""
    rows = counted.check(pool, peer).rows()
    row = max(rows, key=lambda row: row[metrics.CHECKED_AT], default=None)
    if row is None or not row[metrics.CHECKED_AT]:
        return None
    return {
        "count": sum(each[metrics.CHECKS] for each in rows),
        "failed": sum(each[metrics.CHECKS_FAILED] for each in rows),
        "changes": sum(each[metrics.HEALTH_CHANGES] for each in rows),
        "last": row[metrics.CHECKED_AT],
        "passed": row[metrics.CHECK_RESULT] == 1,
        "since": row[metrics.CHECK_SINCE] or None,
        "reason": read_text(row, metrics.CHECK_REASON) or None,
    }
