"""The cost of the figures: the counters of a request, and an open dashboard. `python -m bench.status` prints both.

Rules:
- Costs are CPU time, never elapsed time, so that other work on the machine disturbs them little. The least of many rounds counts.
- The counters are called as a request calls them: `Metrics.record` once, and `PeerCounter.ended` once for its attempt.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.support import Recorder, free_port, run_proxy
from wsgi_proxy.build import compiled
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx.reader import loads
from wsgi_proxy.response import Attempt
from wsgi_proxy.wsgi import ProxyApp

CALLS = 20_000
ROUNDS = 30
SECONDS = 60
"""Requests of the page in each half of the second measurement, one a second."""


def least(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in microseconds, without that of the loop."""

    def once(function: Callable[[], object]) -> float:
        began = time.thread_time()
        for _ in range(CALLS):
            function()
        return (time.thread_time() - began) / CALLS * 1e6

    return min(once(call) for _ in range(ROUNDS)) - min(once(lambda: None) for _ in range(ROUNDS))


def counters() -> tuple[float, float]:
    """Return the microseconds of the counters of a request, and of those of its attempt at an upstream server."""
    app = ProxyApp(loads("events {} http { upstream u { server 127.0.0.1:9; } server { location / { proxy_pass http://u; } } }"))
    exchange = Exchange()
    app.router.choose_server(exchange)
    app.router.route(exchange)
    exchange.status, exchange.body_bytes_sent, exchange.finished_at = 200, 36, exchange.started + 0.001
    pool = app.targets.pools["u"]
    attempt = Attempt("127.0.0.1:9")
    attempt.status, attempt.header_time, attempt.response_time = 200, 0.001, 0.001
    peer = app.metrics.peer(pool, pool.peers[0])
    found = least(lambda: app.metrics.record(exchange)), least(lambda: peer.ended(attempt, False))
    app.close()
    return found


def page(folder: Path) -> tuple[float, float]:
    """Return the share of a core that 4 workers take without a page, and while one page is open: 24 servers, 40 locations."""
    port = free_port()
    with Recorder() as upstream:
        groups = "".join(
            f"upstream u{n} {{ {' '.join(f'server 127.0.0.1:{20000 + 6 * n + k} max_fails=0;' for k in range(6))} }}"
            for n in range(4)
        )
        places = "".join(f"location /{n}/ {{ proxy_pass http://u{n % 4}; }}" for n in range(40))
        text = f"""worker_processes 4; events {{}} http {{ access_log off; {groups} server {{ listen 127.0.0.1:{port}; {places}
            location = /status {{ wsgi_proxy_status; }} location / {{ proxy_pass http://{upstream.address}; }} }} }}"""
        with run_proxy(text, folder) as proxy:
            for _ in range(200):
                _get(port, "/")
            shares = []
            for open_page in (False, True):
                before, began = _cpu(proxy.children()), time.monotonic()
                for turn in range(SECONDS):
                    if open_page:
                        _get(port, "/status?format=json" + ("" if turn % 5 else "&history"))
                    time.sleep(max(0.0, began + turn + 1 - time.monotonic()))
                shares.append((_cpu(proxy.children()) - before) / (time.monotonic() - began))
    return shares[0], shares[1]


def _get(port: int, path: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
        response.read()


def _cpu(pids: list[int]) -> float:
    """Return the CPU seconds of processes so far; the kernel's clock of schedstat is in nanoseconds."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def main() -> int:
    """Print the figures."""
    request, attempt = counters()
    with tempfile.TemporaryDirectory() as folder:
        idle, watched = page(Path(folder))
    print(f"compiled: {compiled()}, load {os.getloadavg()[0]:.1f}")
    print(f"counters of a request: {request:.2f} us; of its attempt at an upstream server: {attempt:.2f} us")
    print(f"share of a core: {100 * idle:.2f} % without a page, {100 * watched:.2f} % with one open page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
