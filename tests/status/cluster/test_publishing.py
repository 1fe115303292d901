"""The figures that a machine publishes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.directive import http
from wsgi_proxy import __version__
from wsgi_proxy.keyval import Zones
from wsgi_proxy.shm import SharedMemory
from wsgi_proxy.status import Metrics
from wsgi_proxy.status.cluster import Publisher

TEXT = """
wsgi_proxy_cluster redis://h;
limit_req_zone $host zone=slow:1m rate=1r/s sync;
limit_req_zone $host zone=own:1m rate=1r/s;
keyval_zone zone=pairs:64k sync;
keyval_zone zone=own:64k;
upstream u { server 127.0.0.1:1; sticky learn create=$host lookup=$host zone=s:64k sync; }
"""


def test_figures_are_those_of_zones_with_sync(tmp_path: Path) -> None:
    config, memory = http(TEXT), SharedMemory.open(str(tmp_path))
    counted, zones = Metrics(memory), Zones(http(TEXT), memory, None)
    now = [100.0]
    publisher = Publisher(config, counted, zones, lambda: now[0])
    first = publisher()
    assert (first["version"], first["requests"], first["requests_per_second"]) == (__version__, 0, None)
    counted.limit("limit_req", "slow").add(2)
    zones.by_name["pairs"].put((b"a", b"1", None))
    counted.location("server", "/").add(2)
    now[0] += 0.5
    second = publisher()
    assert (second["requests"], second["requests_per_second"]) == (1, 2.0)
    assert second["limit_req"] == {"slow": [0, 0, 1, 0, 0]} and second["limit_conn"] == {}
    assert second["keyval"] == {"pairs": [1, 1]} and second["sticky"] == {"s": [0, 0]}
    assert json.loads(json.dumps(second)) == second
