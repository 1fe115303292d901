"""Envoy: one process with two worker threads.

Rules:
- The policy looks at all servers (`FULL_SCAN`), as `least_conn` does; by default it compares two.
- Its circuit breakers are raised above the load of the bench. Request ids are off.
- It has no cache here: its experimental filter passes on every conditional request.
"""

from __future__ import annotations

import json
from typing import Any

from .. import machine
from .setup import GZIP_LEVEL, WORKERS, Launch, Setup

TYPES = "type.googleapis.com/envoy.extensions."
MANY = 1_000_000


def launch(setup: Setup) -> Launch:
    path = setup.folder / "envoy.json"
    path.write_text(json.dumps(configuration(setup), indent=1))
    binary = machine.program("envoy") or "envoy"
    options = ["--concurrency", str(WORKERS), "--disable-hot-restart", "--log-level", "error"]
    return Launch([binary, "-c", str(path), *options])


def configuration(setup: Setup) -> dict[str, Any]:
    clusters = [
        _cluster("echo", setup.addresses),
        _cluster("websocket", [f"127.0.0.1:{setup.upstreams.websocket}"]),
    ]
    listeners = [
        _listener(setup, setup.port, None),
        _listener(setup, setup.tls_port, _tls(setup)),
    ]
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _cluster(name: str, addresses: list[str]) -> dict[str, Any]:
    endpoints = []
    for each in addresses:
        host, _, port = each.partition(":")
        endpoints.append({"endpoint": {"address": _address(host, int(port))}, "load_balancing_weight": 10})
    least = {"@type": TYPES + "load_balancing_policies.least_request.v3.LeastRequest", "selection_method": "FULL_SCAN"}
    limits = {"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY, "max_retries": 3}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "least", "typed_config": least}}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [limits]},
    }


def _tls(setup: Setup) -> dict[str, Any]:
    files = setup.upstreams
    return {
        "name": "tls",
        "typed_config": {
            "@type": TYPES + "transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [
                    {"certificate_chain": {"filename": str(files.certificate)}, "private_key": {"filename": str(files.key)}}
                ],
            },
        },
    }


def _listener(setup: Setup, port: int, tls: dict[str, Any] | None) -> dict[str, Any]:
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": _manager(setup)}]}
    if tls:
        chain["transport_socket"] = tls
    return {
        "name": f"port-{port}",
        "address": _address("127.0.0.1", port),
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }


def _manager(setup: Setup) -> dict[str, Any]:
    """Return the HTTP connection manager. The compressor is off but for its path."""
    on = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
    echo = {"cluster": "echo", "timeout": "0s"}
    routes = [
        {"match": {"path": "/hello"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}},
        {
            "match": {"path": "/ws"},
            "route": {"cluster": "websocket", "timeout": "0s", "upgrade_configs": [{"upgrade_type": "websocket"}]},
        },
        {"match": {"path": "/text"}, "route": echo, "typed_per_filter_config": {"gzip": on}},
        {"match": {"prefix": "/"}, "route": echo},
    ]
    return {
        "@type": TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "generate_request_id": False,
        "stream_idle_timeout": "300s",
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "access_log": [
            {
                "name": "file",
                "typed_config": {"@type": TYPES + "access_loggers.file.v3.FileAccessLog", "path": str(setup.access_log)},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": _filters(),
    }


def _filters() -> list[dict[str, Any]]:
    gzip = {
        "name": "gzip",
        "typed_config": {
            "@type": TYPES + "compression.gzip.compressor.v3.Gzip",
            "compression_level": f"COMPRESSION_LEVEL_{GZIP_LEVEL}",
        },
    }
    return [
        {
            "name": "gzip",
            "disabled": True,
            "typed_config": {"@type": TYPES + "filters.http.compressor.v3.Compressor", "compressor_library": gzip},
        },
        {"name": "router", "typed_config": {"@type": TYPES + "filters.http.router.v3.Router"}},
    ]
