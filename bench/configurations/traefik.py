"""Traefik: one process, GOMAXPROCS 2. It has no cache.

Rules:
- `p2c` (the better of two servers drawn at random, by open requests) is the nearest that Traefik has to `least_conn`.
- By default the longest rule comes first, which would be that of `/`: each has a priority.
- The level of its compression cannot be set.
"""

from __future__ import annotations

import json

from .. import machine
from .setup import WORKERS, Launch, Setup


def launch(setup: Setup) -> Launch:
    routes, static = setup.folder / "routes.yml", setup.folder / "traefik.yml"
    # JSON is YAML.
    routes.write_text(json.dumps(_routes(setup)))
    timeouts = {"respondingTimeouts": {"idleTimeout": "300s", "readTimeout": "0s"}}
    static.write_text(
        json.dumps(
            {
                "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                "entryPoints": {
                    "plain": {"address": f"127.0.0.1:{setup.port}", "transport": timeouts},
                    "tls": {"address": f"127.0.0.1:{setup.tls_port}", "transport": timeouts, "http": {"tls": {}}},
                },
                "accessLog": {"filePath": str(setup.access_log)},
                "log": {"level": "ERROR"},
                "serversTransport": {"maxIdleConnsPerHost": setup.kept},
                "providers": {"file": {"filename": str(routes), "watch": False}},
            }
        )
    )
    binary = machine.program("traefik") or "traefik"
    return Launch([binary, f"--configFile={static}"], {"GOMAXPROCS": str(WORKERS)})


def _routes(setup: Setup) -> dict[str, object]:
    upstreams = setup.upstreams
    servers = [{"url": f"http://{address}"} for address in setup.addresses]
    websocket = [{"url": f"http://127.0.0.1:{upstreams.websocket}"}]
    return {
        "http": {
            "routers": {
                "all": {"rule": "PathPrefix(`/`)", "priority": 1, "service": "echo"},
                "text": {"rule": "Path(`/text`)", "priority": 2, "service": "echo", "middlewares": ["gzip"]},
                "websocket": {"rule": "Path(`/ws`)", "priority": 2, "service": "websocket"},
            },
            "middlewares": {"gzip": {"compress": {"encodings": ["gzip"]}}},
            "services": {
                "echo": {"loadBalancer": {"strategy": "p2c", "servers": servers}},
                "websocket": {"loadBalancer": {"servers": websocket}},
            },
        },
        "tls": {
            "stores": {
                "default": {"defaultCertificate": {"certFile": str(upstreams.certificate), "keyFile": str(upstreams.key)}}
            },
            "options": {"default": {"minVersion": "VersionTLS13"}},
        },
    }
