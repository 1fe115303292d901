"""Redis behind a Sentinel, and a Redis Cluster: real servers, two proxies with a shared limit, and a primary that is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.support import Running, fetch, free_port, run_proxy, wait_until
from tests.support.redis_cluster import RedisCluster, Sentinels

LIMIT = 21
"""The requests that a key has at once: a burst of 20, and one."""
CONF = """
worker_processes 2;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    # A busy machine does not always answer in 20 ms.
    wsgi_proxy_cluster {url} name=test timeout=1s;
    limit_req_zone $arg_key zone=shared:1m rate=1r/m sync;
    limit_conn_zone $arg_key zone=connections:1m sync;
    limit_req_status 429;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {root}; limit_req zone=shared burst=20 nodelay; limit_conn connections 10; }}
    }}
}}
"""


class Proxies:
    """Two proxies with one limit; every response but 200 and 429 is an error."""

    def __init__(self, ports: list[int], servers: list[Running]) -> None:
        self._ports = ports
        self._servers = servers
        self._keys = count()

    def admitted(self, requests: int = 40, key: str = "") -> int:
        """Send requests with one key, a new one if none is given, to both in turn. Return the number of those admitted."""
        key = key or f"new-{next(self._keys)}"
        statuses = [fetch(self._ports[number % 2], f"/index.html?key={key}").status for number in range(requests)]
        assert set(statuses) <= {200, 429}
        return statuses.count(200)

    def log(self) -> str:
        return "".join(server.log() for server in self._servers)


@contextmanager
def proxies(folder: Path, url: str) -> Iterator[Proxies]:
    root = folder / "root"
    root.mkdir()
    (root / "index.html").write_text("here")
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(run_proxy(CONF.format(url=url, port=port, root=root), folder / str(port))) for port in ports
        ]
        yield Proxies(ports, servers)


def shared(both: Proxies) -> bool:
    """Return True if a new key has one limit over all workers of both proxies. A minute gives one request more."""
    return LIMIT <= both.admitted() <= LIMIT + 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_a_failover_by_sentinel_fails_no_request_and_ends_by_itself(number: int, tmp_path: Path) -> None:
    with Sentinels(tmp_path) as servers, proxies(tmp_path, servers.url) as both:
        wait_until(lambda: shared(both), "the shared limit")
        servers.process(servers.primary).send_signal(number)
        begin, admitted = time.monotonic(), 0
        while servers.present() == servers.primary:
            admitted += both.admitted(key="outage")
        wait_until(lambda: shared(both), "the shared limit at the new primary")
        admitted += both.admitted(key="outage")
        # Each machine alone has the limit at most, and the new primary does not know these requests.
        assert admitted <= 3 * LIMIT + 3 * (1 + (time.monotonic() - begin) / 60)
        assert servers.present() == servers.replica
        assert "the cluster's Redis fails, this machine decides alone" in both.log()
        assert "[emerg]" not in both.log() and "Traceback" not in both.log()
        # The old primary returns as a replica, and changes nothing.
        if number == signal.SIGKILL:
            servers.start(servers.primary)
        else:
            servers.process(servers.primary).send_signal(signal.SIGCONT)
        assert both.admitted() <= 2 * LIMIT
        wait_until(lambda: shared(both), "the shared limit")
        assert servers.present() == servers.replica


def test_a_redis_cluster_shares_limits_and_its_keys_may_move(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as servers, proxies(tmp_path, servers.url) as both:
        wait_until(lambda: shared(both), "the shared limit")
        before = servers.owner("wsgi-proxy:{test}")
        servers.move("wsgi-proxy:{test}")
        assert servers.owner("wsgi-proxy:{test}") != before
        wait_until(lambda: shared(both), "the shared limit at the other node")
