"""The table of all metrics: name, kind, labels and meaning of each family.

Rules:
- Names follow Prometheus' conventions: base units, `_total` for counters. docs/monitoring.md has the table that `table()` makes.
- A family keeps its name and labels; new ones are added.
"""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """One family: its name without the prefix, its kind, the names of its labels, and its meaning."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


PREFIX = "wsgi_proxy_"
_PEER = ("upstream", "server")
_PLACE = ("server", "location")
_MACHINE = ("machine", "host", "version")
FAMILIES: tuple[Family, ...] = (
    Family("build_info", "gauge", ("version", "python", "compiled"), "Always 1; the labels name the version and the build."),
    Family("start_time_seconds", "gauge", (), "Start of the main process since the epoch; absent under another server."),
    Family("requests_total", "counter", (), "Finished requests."),
    Family("responses_total", "counter", ("class",), "Finished requests by status class."),
    Family("sent_body_bytes_total", "counter", (), "Bytes of bodies sent to clients."),
    Family("received_body_bytes_total", "counter", (), "Bytes of bodies received from clients."),
    Family("connections", "gauge", ("state",), "Connections of clients by state: reading, writing, waiting."),
    Family("accepted_connections_total", "counter", (), "Connections accepted from clients."),
    Family("server_responses_total", "counter", ("server", "class"), "Finished requests of a server block by status class."),
    Family("server_sent_body_bytes_total", "counter", ("server",), "Bytes of bodies sent by a server block."),
    Family("server_request_duration_seconds", "histogram", ("server",), "Durations of the requests of a server block."),
    Family("location_responses_total", "counter", (*_PLACE, "class"), "Finished requests of a location by status class."),
    Family("location_sent_body_bytes_total", "counter", _PLACE, "Bytes of bodies sent by a location."),
    Family("location_request_duration_seconds", "histogram", _PLACE, "Durations of the requests of a location."),
    Family("upstream_responses_total", "counter", (*_PEER, "class"), "Attempts by status class; none without a response."),
    Family("upstream_failures_total", "counter", _PEER, "Attempts that failed and count against the server."),
    Family("upstream_sent_bytes_total", "counter", _PEER, "Bytes of requests sent to an upstream server."),
    Family("upstream_received_bytes_total", "counter", _PEER, "Bytes of responses received from an upstream server."),
    Family("upstream_header_duration_seconds", "histogram", _PEER, "Time from the start of an attempt to the response's header."),
    Family("upstream_response_duration_seconds", "histogram", _PEER, "Time from the start of an attempt to the response's end."),
    Family("upstream_connections", "gauge", _PEER, "Attempts in progress at an upstream server."),
    Family("upstream_available", "gauge", _PEER, "1 if the server can be chosen, else 0."),
    Family("upstream_state", "gauge", (*_PEER, "state"), "1 for the present state of the server."),
    Family("upstream_checks_total", "counter", _PEER, "Active health checks of the server."),
    Family("upstream_failed_checks_total", "counter", _PEER, "Active health checks that failed."),
    Family("upstream_health_changes_total", "counter", _PEER, "Changes of the server's health by active checks."),
    Family("retries_total", "counter", ("upstream", "reason"), "Further attempts by the failure before (proxy_next_upstream)."),
    Family("cache_responses_total", "counter", ("zone", "state"), "Requests of a cache zone by $upstream_cache_status."),
    Family("cache_bytes", "gauge", ("zone",), "Bytes stored in a cache zone."),
    Family("cache_max_bytes", "gauge", ("zone",), "The limit of a cache zone (max_size)."),
    Family("cache_entries", "gauge", ("zone",), "Entries that the last sweep of a cache zone found."),
    Family("limited_requests_total", "counter", ("limit", "zone", "result"), "Decisions of limit_req and limit_conn by zone."),
    Family("keyval_pairs", "gauge", ("zone",), "Key-value pairs of a zone."),
    Family("sticky_sessions", "gauge", ("zone",), "Sessions of a zone of sticky learn."),
    Family("cluster_reachable", "gauge", (), "1 if the cluster's Redis answers, else 0; absent without a cluster."),
    Family("cluster_machines", "gauge", (), "Machines of the cluster that are alive, as this one sees it."),
    Family("cluster_machine_info", "gauge", _MACHINE, "Always 1; the labels name a machine, its host and its version."),
    Family("cluster_machine_start_time_seconds", "gauge", ("machine",), "Start of a machine since the epoch, by its clock."),
    Family("cluster_machine_workers", "gauge", ("machine",), "Workers of a machine."),
    Family("cluster_machine_requests_per_second", "gauge", ("machine",), "Finished requests of a machine in the last second."),
    Family("cluster_machine_last_seen_seconds", "gauge", ("machine",), "Seconds since a machine has renewed its lease."),
    Family("cluster_limited_requests", "gauge", ("limit", "zone", "result"), "Decisions of all machines by zone with sync."),
    Family("cluster_pairs", "gauge", ("kind", "zone"), "Pairs or sessions that all machines share, by zone with sync."),
    Family("cluster_pending_changes", "gauge", ("kind", "zone"), "Changes that some machine has not sent to the others."),
    Family("tls_handshakes_total", "counter", ("result",), "TLS handshakes of clients: full, resumed, failed."),
    Family("certificate_expiry_timestamp_seconds", "gauge", ("path",), "End of a certificate's validity since the epoch."),
    Family("reloads_total", "counter", ("result",), "Reloads of the configuration: succeeded, failed."),
    Family("last_reload_successful", "gauge", (), "1 if the last reload succeeded, 0 if it failed; absent before the first."),
    Family("last_reload_timestamp_seconds", "gauge", (), "End of the last reload since the epoch; absent before the first."),
    Family("workers", "gauge", (), "Workers that are alive."),
    Family("worker_starts_total", "counter", (), "Workers that have begun."),
    Family("worker_deaths_total", "counter", (), "Workers that ended unasked."),
    Family("worker_cpu_seconds_total", "counter", ("pid",), "CPU time of a worker."),
    Family("worker_resident_memory_bytes", "gauge", ("pid",), "Resident memory of a worker."),
    Family("worker_open_fds", "gauge", ("pid",), "Open file descriptors of a worker."),
    Family("worker_connections", "gauge", ("pid",), "Connections of clients to a worker."),
)  # fmt: skip
"""All families, in the order of the response."""


def table() -> str:
    """Return the table of all metrics in Markdown, for docs/monitoring.md."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        about = family.about.replace("$upstream_cache_status", "`$upstream_cache_status`")
        lines.append(f"| `{PREFIX}{family.name}` | {family.kind} | {labels} | {about} |")
    return "\n".join(lines) + "\n"
