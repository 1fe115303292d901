"""Figures of upstream servers: the state of each, since when and why; times without least_time; failures of a single server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.support import Recorder, fetch, free_port, reply, run_proxy, wait_until

CONFIGURATION = """
worker_processes 2;
events {{}}
http {{
    upstream some {{
        server {up};
        server 127.0.0.1:{dead} max_fails=2 fail_timeout=60s;
        server 127.0.0.1:{dead} down;
    }}
    upstream checked {{ server {up}; server {sick}; }}
    upstream lone {{ server 127.0.0.1:{dead}; }}
    server {{
        listen 127.0.0.1:{port};
        location /some {{ proxy_pass http://some; }}
        location /checked {{ proxy_pass http://checked; health_check interval=1s fails=1 uri=/health; }}
        location /lone {{ proxy_pass http://lone; }}
        location = /json {{ wsgi_proxy_status json; }}
    }}
}}
"""


def test_the_state_of_each_server_and_why(tmp_path: Path) -> None:
    begun = int(time.time())
    with Recorder() as up, Recorder(lambda request, wire: reply(b"", 500)) as sick:
        dead = free_port()
        text = CONFIGURATION.format(up=up.address, sick=sick.address, dead=dead, port=free_port())
        with run_proxy(text, tmp_path) as server:

            def upstreams() -> dict[str, list[dict[str, Any]]]:
                found: dict[str, list[dict[str, Any]]] = json.loads(fetch(server.port, "/json").body)["upstreams"]
                return found

            for _ in range(8):
                assert fetch(server.port, "/some").status == 200
                assert fetch(server.port, "/lone").status == 502
            fetch(server.port, "/checked")
            wait_until(lambda: upstreams()["checked"][1]["state"] == "unhealthy", "the failed health check")
            wait_until(lambda: upstreams()["checked"][0]["checks"], "the first health check")
            wait_until(lambda: upstreams()["lone"][0]["failures"] == 8, "the failures of the single server")
            found = upstreams()
            good, failed, down = found["some"]
            assert (good["state"], good["reason"], good["since"], good["available"]) == ("up", None, None, True)
            assert good["header_ms"] > 0 and good["response_ms"] >= good["header_ms"]
            assert good["header"]["count"] == good["tries"] == 8
            assert failed["state"] == "unavail" and "Connection refused" in failed["reason"] and failed["failures"] == 2
            assert begun <= failed["since"] <= time.time() and failed["header_ms"] is None
            assert (down["state"], down["reason"], down["available"]) == ("down", "configured", False)
            assert found["lone"][0]["state"] == "up" and found["lone"][0]["last_failure"]["at"] >= begun
            healthy, unhealthy = found["checked"]
            assert healthy["state"] == "up" and healthy["checks"]["passed"] and healthy["checks"]["failed"] == 0
            assert "500" in unhealthy["reason"] and begun <= unhealthy["since"] <= time.time()
            assert unhealthy["checks"]["last"] >= unhealthy["since"] and unhealthy["checks"]["changes"] == 1
            # The server recovers, and the last failure stays known.
            sick.response = lambda request, wire: reply(b"ok")
            wait_until(lambda: upstreams()["checked"][1]["state"] == "up", "the server to recover")
            unhealthy = upstreams()["checked"][1]
            assert unhealthy["reason"] is None and unhealthy["checks"]["changes"] == 2 and unhealthy["checks"]["passed"]
