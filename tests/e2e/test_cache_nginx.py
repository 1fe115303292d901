"""Micro-caching beside real nginx: one configuration, one origin for each, the same number of requests at both origins."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_nginx, run_proxy, wait_until
from wsgi_proxy.http.dates import format_date

CONF = """
worker_processes 2;
events {{}}
http {{
    proxy_cache_path cache keys_zone=z:10m;
    proxy_cache z;
    proxy_cache_key $uri;
    proxy_cache_valid 200 302 10m;
    proxy_cache_valid 404 1m;
    proxy_cache_lock on;
    proxy_cache_lock_age 60s;
    proxy_cache_lock_timeout 60s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location /ignored/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
        }}
    }}
}}
"""
CLIENTS = 30
BEHIND = ("Date", format_date(1_000_000_000))
PAGES = {
    "/plain": [],
    "/age": [("Age", "100000")],
    "/behind": [BEHIND],
    "/both": [("Age", "100000"), BEHIND],
    "/ignored/control": [("Cache-Control", "no-cache, max-age=0"), ("Age", "100000")],
    "/ignored/expires": [("Expires", "0"), BEHIND],
    "/ignored/cookie": [("Set-Cookie", "a=b"), ("Age", "100000")],
}


class Pair:
    """nginx and this proxy, each before an origin that counts."""

    def __init__(self):
        self.recorders = [Recorder(self._script), Recorder(self._script)]
        self.ports = [free_port(), free_port()]
        self.gates: dict[str, threading.Event] = {}

    def _script(self, request, wire):
        gate = self.gates.get(request.target)
        if gate is not None:
            assert gate.wait(60)
        path = request.target.partition("-")[0]
        return reply(b"page", 404 if path == "/absent" else 200, PAGES.get(path, []))

    def asked(self, target):
        return [sum(request.target == target for request in each.requests) for each in self.recorders]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    pair = Pair()
    with pair.recorders[0], pair.recorders[1]:
        one, two = (CONF.format(port=port, upstream=each.port) for port, each in zip(pair.ports, pair.recorders, strict=True))
        directory = tmp_path_factory.mktemp("micro")
        with run_nginx(one, directory), run_proxy(two, directory):
            yield pair


@pytest.mark.parametrize("path", PAGES)
def test_a_herd_makes_one_fetch(pair, path):
    target = f"{path}-herd"
    gate = pair.gates[target] = threading.Event()
    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        asked = [pool.submit(fetch, port, target, timeout=60) for port in pair.ports for _ in range(CLIENTS)]
        # Both origins hold the first request back: every other one waits for its answer, or finds it stored.
        wait_until(lambda: min(pair.asked(target)) >= 1, "both origins are asked", deadline=60)
        gate.set()
        assert [each.result().status for each in asked] == [200] * 2 * CLIENTS
    assert pair.asked(target) == [1, 1]


@pytest.mark.parametrize(
    "field",
    [("Cache-Control", "no-cache"), ("Cache-Control", "max-age=0"), ("Pragma", "no-cache"), ("Cache-Control", "min-fresh=99999")],
)
@pytest.mark.parametrize("path", ["/plain", "/absent", "/age"])
def test_a_client_does_not_pass_the_cache_by(pair, path, field):
    target = f"{path}-{field[1]}-{field[0]}"
    for port in pair.ports:
        for fields in ([], [field], [field]):
            fetch(port, target, headers=[("Host", "h.test"), *fields])
    assert pair.asked(target) == [1, 1]
