"""The status of every proxy shows all machines of its cluster, and the totals of what they share."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prometheus_client import parser as prometheus

from tests.support import fetch, free_port, run_proxy, wait_until
from tests.support.redis import RedisServer
from wsgi_proxy import __version__

CONF = """
worker_processes 2;
events {{}}
http {{
    access_log off;
    wsgi_proxy_cluster {url} name=test timeout=1s;
    limit_req_zone $arg_key zone=slow:1m rate=1r/m sync;
    keyval_zone zone=pairs:64k sync;
    server {{
        listen {port};
        location / {{ root {root}; limit_req zone=slow burst=4 nodelay; }}
        location /api/ {{ wsgi_proxy_status page write; allow 127.0.0.1; deny all; }}
        location = /status {{ wsgi_proxy_status json; }}
        location = /metrics {{ wsgi_proxy_status metrics; }}
    }}
}}
"""


def cluster(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fetch(port, "/status").body)["cluster"]
    return found


def test_every_machine_shows_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with RedisServer(tmp_path) as redis, ExitStack() as stack:
        ports = [free_port() for _ in range(3)]
        servers = []
        for number, port in enumerate(ports):
            text = CONF.format(url=redis.url, port=port, root=tmp_path)
            servers.append(stack.enter_context(run_proxy(text, tmp_path / str(number))))
        for port in ports:
            for _ in range(4):
                fetch(port, "/file?key=k")
        body = b'{"a": "1"}'
        assert fetch(ports[0], "/api/http/keyvals/pairs", "POST", headers=[("Content-Length", "10")], body=body).status == 201

        def agreed() -> bool:
            found = [cluster(port) for port in ports]
            zones = [each["zones"] for each in found]
            slow, pairs = zones[0]["limit_req"].get("slow", {}), zones[0]["keyval"].get("pairs")
            return (
                all(len(each["machines"]) == 3 and each["zones"] == zones[0] for each in found)
                and slow.get("passed", 0) + slow.get("rejected", 0) == 12
                and pairs == {"pairs": 1, "pending": 0}
            )

        wait_until(agreed)
        found = cluster(ports[1])
        assert (found["name"], found["reachable"]) == ("test", True)
        assert {each["machine"] for each in found["machines"]} == {cluster(port)["machine"] for port in ports}
        for each in found["machines"]:
            assert (each["version"], each["workers"]) == (__version__, 2)
            assert each["requests"] >= 4 and each["uptime"] >= 0 and each["last_seen"] < 10
        text = fetch(ports[2], "/metrics").body.decode()
        families = prometheus.text_string_to_metric_families(text)
        samples = {(each.name, *sorted(each.labels.items())): each.value for family in families for each in family.samples}
        assert samples["wsgi_proxy_cluster_machines",] == 3 and samples["wsgi_proxy_cluster_reachable",] == 1
        assert samples["wsgi_proxy_cluster_pairs", ("kind", "keyval"), ("zone", "pairs")] == 1
        # A killed machine leaves when its lease ends.
        dead = cluster(ports[2])["machine"]
        servers[2].kill()
        wait_until(lambda: dead not in {each["machine"] for each in cluster(ports[0])["machines"]}, deadline=60)
        redis.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: not cluster(ports[0])["reachable"])
        finally:
            redis.process.send_signal(signal.SIGCONT)
        wait_until(lambda: cluster(ports[0])["reachable"])
