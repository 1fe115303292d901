"""The snapshot in Prometheus' text format and in OpenMetrics.

Rules:
- A client that accepts `application/openmetrics-text` gets OpenMetrics 1.0, any other one Prometheus' text format 0.0.4.
- The families are those of `families.FAMILIES`, in its order. A family without a sample is left out.
- Samples of one family differ in their labels: servers with the same address in one upstream are added up.
Source: OpenMetrics 1.0; Prometheus, "Exposition formats".
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

from .. import build
from .families import FAMILIES, PREFIX, Family
from .histogram import cumulative

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[tuple[Any, ...], Any]
"""The values of the labels and the value: a number, None for an unknown one, or the figures of a histogram."""


def exposition(state: dict[str, Any], openmetrics: bool) -> str:
    """Return the whole document."""
    samples = dict(_samples(state))
    lines: list[str] = []
    for family in FAMILIES:
        found = [sample for sample in samples[family.name] if sample[1] is not None]
        if not found:
            continue
        name = PREFIX + family.name
        shown = name.removesuffix("_total") if openmetrics and family.kind == "counter" else name
        lines += [f"# HELP {shown} {family.about}", f"# TYPE {shown} {family.kind}"]
        for values, value in found:
            lines += _lines(family, name, values, value)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _lines(family: Family, name: str, values: tuple[Any, ...], value: Any) -> Iterator[str]:
    labels = [f'{label}="{_escaped(str(text))}"' for label, text in zip(family.labels, values, strict=True)]
    inner = ",".join(labels)
    if family.kind == "histogram":
        for bound, count in cumulative(value["buckets"]):
            le = f'le="{bound}"'
            yield f"{name}_bucket{{{','.join([*labels, le])}}} {count}"
        yield f"{name}_sum{{{inner}}} {value['sum']}"
        yield f"{name}_count{{{inner}}} {value['count']}"
    else:
        yield f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _samples(state: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    """Yield each family's name and samples."""
    compiled = "true" if build.compiled() else "false"
    yield "build_info", [((state["version"], platform.python_version(), compiled), 1)]
    yield "start_time_seconds", [((), state["started"])]
    yield "requests_total", [((), state["requests"])]
    yield "responses_total", [((kind,), count) for kind, count in state["responses"].items()]
    yield "sent_body_bytes_total", [((), state["body_bytes"])]
    yield "received_body_bytes_total", [((), state["request_body_bytes"])]
    connections = state["connections"]
    yield "connections", [((name,), connections[name]) for name in ("reading", "writing", "waiting")]
    yield "accepted_connections_total", [((), connections["accepted"])]
    for kind, labels in (("server", ("server",)), ("location", ("server", "location"))):
        rows = [(tuple(row[label] for label in labels), row) for row in state[f"{kind}s"]]
        yield f"{kind}_responses_total", [((*at, name), n) for at, row in rows for name, n in row["responses"].items()]
        yield f"{kind}_sent_body_bytes_total", [(at, row["body_bytes"]) for at, row in rows]
        yield f"{kind}_request_duration_seconds", [(at, row["latency"]) for at, row in rows]
    yield from _upstreams(state)
    yield from _zones(state)
    yield from _cluster(state["cluster"])
    yield from _processes(state)


def _upstreams(state: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    peers: dict[tuple[str, str], dict[str, Any]] = {}
    for name, rows in state["upstreams"].items():
        for row in rows:
            known = peers.get((name, row["server"]))
            if known is None:
                peers[name, row["server"]] = dict(row)
            else:  # the attempts at an address are counted together already
                known["connections"] += row["connections"]
                known["available"] = known["available"] or row["available"]
                known["state"] = "up" if "up" in (known["state"], row["state"]) else known["state"]
    yield "upstream_responses_total", [((*at, kind), n) for at, row in peers.items() for kind, n in row["responses"].items()]
    for family, key in (
        ("upstream_failures_total", "failures"),
        ("upstream_sent_bytes_total", "bytes_sent"),
        ("upstream_received_bytes_total", "bytes_received"),
        ("upstream_header_duration_seconds", "header"),
        ("upstream_response_duration_seconds", "response"),
        ("upstream_connections", "connections"),
    ):
        yield family, [(at, row[key]) for at, row in peers.items()]
    yield "upstream_available", [(at, int(row["available"])) for at, row in peers.items()]
    yield "upstream_state", [((*at, row["state"]), 1) for at, row in peers.items()]
    checked = [(at, row["checks"]) for at, row in peers.items() if row["checks"]]
    yield "upstream_checks_total", [(at, checks["count"]) for at, checks in checked]
    yield "upstream_failed_checks_total", [(at, checks["failed"]) for at, checks in checked]
    yield "upstream_health_changes_total", [(at, checks["changes"]) for at, checks in checked]
    retries = state["retry_reasons"].items()
    yield "retries_total", [((name, reason), n) for name, reasons in retries for reason, n in reasons.items()]


def _zones(state: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    caches = state["caches"].items()
    yield "cache_responses_total", [((name, kind), n) for name, zone in caches for kind, n in zone["states"].items()]
    yield "cache_bytes", [((name,), zone["bytes"]) for name, zone in caches]
    yield "cache_max_bytes", [((name,), zone["max_bytes"]) for name, zone in caches]
    yield "cache_entries", [((name,), zone["entries"]) for name, zone in caches]
    limits = [(kind, name, results) for kind, zones in state["limits"].items() for name, results in zones.items()]
    yield "keyval_pairs", [((name,), zone["pairs"]) for name, zone in state["keyvals"].items()]
    yield "sticky_sessions", [((name,), zone["sessions"]) for name, zone in state["sessions"].items()]
    yield "limited_requests_total", [((kind, name, result), n) for kind, name, all_ in limits for result, n in all_.items()]


def _cluster(cluster: dict[str, Any] | None) -> Iterator[tuple[str, list[Sample]]]:
    machines = cluster["machines"] if cluster is not None else []
    zones = cluster["zones"] if cluster is not None else {}
    yield "cluster_reachable", [((), int(cluster["reachable"]))] if cluster is not None else []
    yield "cluster_machines", [((), len(machines))] if cluster is not None else []
    yield "cluster_machine_info", [((row["machine"], row["host"], row["version"] or ""), 1) for row in machines]
    for family, key in (
        ("cluster_machine_start_time_seconds", "since"),
        ("cluster_machine_workers", "workers"),
        ("cluster_machine_requests_per_second", "requests_per_second"),
        ("cluster_machine_last_seen_seconds", "last_seen"),
    ):
        yield family, [((row["machine"],), row[key]) for row in machines]
    limits = [(kind, name, zone) for kind in ("limit_req", "limit_conn") for name, zone in zones.get(kind, {}).items()]
    yield "cluster_limited_requests", [((kind, name, result), n) for kind, name, zone in limits for result, n in zone.items()]
    pairs = [(kind, name, zone) for kind in ("keyval", "sticky") for name, zone in zones.get(kind, {}).items()]
    yield "cluster_pairs", [((kind, name), zone.get("pairs", zone.get("sessions"))) for kind, name, zone in pairs]
    yield "cluster_pending_changes", [((kind, name), zone["pending"]) for kind, name, zone in pairs]


def _processes(state: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    tls, reloads, workers = state["tls"], state["reloads"], state["workers"]
    yield (
        "tls_handshakes_total",
        [(("full",), tls["handshakes"] - tls["resumed"]), (("resumed",), tls["resumed"]), (("failed",), tls["failed"])],
    )
    yield "certificate_expiry_timestamp_seconds", [((each["path"],), each["not_after"]) for each in tls["certificates"]]
    known = reloads is not None
    counts = [(("succeeded",), reloads["reloads"]), (("failed",), reloads["reloads_failed"])] if known else []
    yield "reloads_total", counts
    done = known and reloads["last_reload"] is not None
    yield "last_reload_successful", [((), int(reloads["last_reload_ok"]))] if done else []
    yield "last_reload_timestamp_seconds", [((), reloads["last_reload"])] if done else []
    yield "workers", [((), len(workers))]
    yield "worker_starts_total", [((), state["workers_started"])]
    yield "worker_deaths_total", [((), state["worker_deaths"])]
    for family, key in (
        ("worker_cpu_seconds_total", "cpu_seconds"),
        ("worker_resident_memory_bytes", "memory_bytes"),
        ("worker_open_fds", "open_files"),
        ("worker_connections", "connections"),
    ):
        yield family, [((row["pid"],), row[key]) for row in workers]
