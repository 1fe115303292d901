"""Four proxies of two workers each, on one machine as if on four, with one real Redis."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Running, fetch, free_port, run_proxy, wait_until
from tests.support.redis import KINDS, RedisServer

BURST = 20
SECONDS = 10
CONF = """
worker_processes 2;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    wsgi_proxy_cluster {url} name=test timeout={timeout};
    limit_req_zone $arg_key zone=shared:1m rate=1r/m sync;
    limit_req_zone $arg_key zone=fast:1m rate=100r/s sync;
    limit_req_status 429;
    server {{
        listen {port};
        location / {{ root {root}; limit_req zone=shared burst=20 nodelay; }}
        location /fast/ {{ alias {root}/; limit_req zone=fast burst=20 nodelay; }}
    }}
}}
"""


class Place:
    """The proxies' ports, and their Redis."""

    def __init__(self, ports: list[int], servers: list[Running], redis: RedisServer) -> None:
        self.ports = ports
        self.servers = servers
        self.redis = redis

    def statuses(self, key: str, each: int) -> list[int]:
        """Send `each` requests to every proxy, at once, and return the statuses."""
        targets = [(port, f"/file?key={key}") for _ in range(each) for port in self.ports]
        with ThreadPoolExecutor(16) as pool:
            return [response.status for response in pool.map(lambda target: fetch(*target), targets)]

    def admitted(self, key: str, each: int) -> int:
        statuses = self.statuses(key, each)
        assert set(statuses) <= {200, 429}, statuses
        return statuses.count(200)


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # A timeout that no busy machine reaches: a request that is decided alone would be admitted four times.
    yield from proxies(tmp_path_factory.mktemp("cluster"), "30s", request.param)


@pytest.fixture(scope="module", params=KINDS)
def hasty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from proxies(tmp_path_factory.mktemp("hasty"), "100ms", request.param)


def proxies(directory: Path, timeout: str, kind: str) -> Iterator[Place]:
    (directory / "file").write_text("x")
    with RedisServer(directory, kind) as redis, ExitStack() as stack:
        ports = [free_port() for _ in range(4)]
        servers = []
        for number, port in enumerate(ports):
            text = CONF.format(url=redis.url, timeout=timeout, port=port, root=directory)
            servers.append(stack.enter_context(run_proxy(text, directory / str(number))))
        yield Place(ports, servers, redis)


def test_one_limit_for_all_machines(place: Place) -> None:
    began = time.monotonic()
    admitted = place.admitted("together", 30)
    # One more for each whole minute that the machine was busy.
    assert BURST + 1 <= admitted <= BURST + 1 + (time.monotonic() - began) / 60


def test_the_rate_is_exact_over_all_machines(place: Place) -> None:
    """The admitted requests are those of one bucket that gets all of them, to two percent and the burst."""
    for port in place.ports * 4:
        assert fetch(port, "/fast/file?key=warm").status == 200
    began = time.monotonic()
    statuses: list[tuple[float, int]] = []

    def go(number: int) -> None:
        while time.monotonic() < began + SECONDS:
            status = fetch(place.ports[number % 4], "/fast/file?key=rate").status
            statuses.append((time.monotonic(), status))
            # 16 clients send at most 400 requests a second together.
            time.sleep(0.04)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(go, range(16)))
    assert {status for _, status in statuses} <= {200, 429}
    # A busy machine sends too few requests at times, so the bucket is computed for the moments of the responses.
    expected, excess, last = 0, -1.0, began
    for moment, _ in sorted(statuses):
        level = max(0.0, excess - 100 * (moment - last) + 1)
        if level <= BURST:
            expected, excess, last = expected + 1, level, moment
    admitted = [status for _, status in statuses].count(200)
    assert abs(admitted - expected) <= 0.02 * expected + BURST, (admitted, expected, len(statuses))


def test_keys_are_limited_apart(place: Place) -> None:
    place.admitted("first", 10)
    assert place.admitted("second", 5) == 4 * 5


def test_a_killed_proxy_leaves_its_counts(place: Place, tmp_path: Path) -> None:
    """The other machines admit only the rest of the burst."""
    port = free_port()
    text = CONF.format(url=place.redis.url, timeout="30s", port=port, root=tmp_path)
    (tmp_path / "file").write_text("x")
    with ExitStack() as stack:
        server = stack.enter_context(run_proxy(text, tmp_path))
        assert [fetch(port, "/file?key=killed").status for _ in range(10)] == [200] * 10
        server.kill()
        stack.pop_all()
    began = time.monotonic()
    admitted = place.admitted("killed", 10)
    assert BURST + 1 - 10 <= admitted <= BURST + 1 - 10 + (time.monotonic() - began + 60) / 60


def test_each_machine_decides_alone_while_redis_hangs(hasty: Place) -> None:
    process = hasty.redis.process
    os.kill(process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        admitted = hasty.admitted("alone", 30)
        # Never unlimited, and no request fails: each of the four machines admits its own burst.
        assert admitted <= 4 * (BURST + 1 + (time.monotonic() - began) / 60)
        assert admitted >= BURST + 1
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert any("the cluster's Redis fails, this machine decides alone" in server.log() for server in hasty.servers)


def test_a_redis_that_was_killed_and_returns_empty_is_used_again(hasty: Place) -> None:
    hasty.redis.process.kill()
    hasty.redis.process.wait(30)
    assert hasty.statuses("away", 2) == [200] * 8
    hasty.redis.socket.unlink(missing_ok=True)
    hasty.redis.start()

    def back() -> bool:
        hasty.statuses(f"probe {time.monotonic()}".replace(" ", ""), 2)
        return any("the cluster's Redis answers again" in server.log() for server in hasty.servers)

    wait_until(back)
