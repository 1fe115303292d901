"""`deploy/cluster`: three proxies with Redis behind a balancer, the same configuration files as processes.

dnsmasq takes the place of Docker's DNS, and redis-server that of Valkey. A request may wait for Redis for a second, because a
busy machine does not always answer within 20 ms.
"""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT, Recorder, Running, fetch, free_port, reply, run_proxy, send_raw, wait_until
from tests.support.dnsmasq import Dnsmasq
from tests.support.redis import RedisServer

CLUSTER = ROOT / "deploy" / "cluster"
SERVICES: dict[str, Any] = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
PROXIES = [f"127.0.3.{number}" for number in (1, 2, 3)]


def test_the_file_names_what_there_is() -> None:
    assert set(SERVICES) == {"balancer", "proxy", "redis", "app"}
    assert SERVICES["proxy"]["deploy"]["replicas"] == 3 and SERVICES["balancer"]["ports"] == ["${BIND:-8080}:8080"]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for name in ("balancer", "proxy", "app"):
        build = SERVICES[name]["build"]
        assert (CLUSTER / build["context"]).resolve() == ROOT.resolve()
        assert f"AS {build['target']}\n" in dockerfile
        assert set(SERVICES[name].get("depends_on", [])) <= set(SERVICES)
    for name in ("balancer", "proxy"):
        (volume,) = SERVICES[name]["volumes"]
        source, target, mode = volume.split(":")
        text = (CLUSTER / source).read_text()
        assert target == "/etc/wsgi-proxy/nginx.conf" and mode == "ro"
        # Names of servers are services, and the status is where the health check asks.
        assert set(re.findall(r"server (\w+):\d+ resolve", text)) <= set(SERVICES)
        assert re.search(r"listen 8081;.*location = /status", text, re.S)
        assert SERVICES[name]["healthcheck"]["test"][1:4] == ["wsgi-proxy", "status", "--url"]
    assert "redis://redis:6379/0" in (CLUSTER / "proxy.conf").read_text()
    assert '"--bind", "0.0.0.0:3000"' in dockerfile and "'.[redis]'" in dockerfile


class Place:
    """The port of the balancer, the proxies by address, and the requests by upstream server."""

    def __init__(self, port: int, proxies: dict[str, Running], redis: RedisServer) -> None:
        self.port = port
        self.proxies = proxies
        self.redis = redis


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        names, redis = stack.enter_context(Dnsmasq(tmp_path)), stack.enter_context(RedisServer(tmp_path))
        service, status, app, balancer = (free_port() for _ in range(4))
        apps = ["127.0.4.1", "127.0.4.2"]
        for host in apps:
            stack.enter_context(Recorder(lambda request, wire, host=host: reply(host.encode()), host=host, port=app))  # type: ignore[misc]
        names.set({"proxy": PROXIES, "app": apps})

        def conf(name: str, host: str, port: int) -> str:
            text = (CLUSTER / name).read_text()
            for old, new in {
                "listen 8080;": f"listen {host}:{port};", "listen 8081;": f"listen {host}:{status};",
                "127.0.0.11": names.address, "proxy:8080": f"proxy:{service}", "app:3000": f"app:{app}",
                "redis://redis:6379/0 name=demo": f"{redis.url} name=demo timeout=1s", "172.16.0.0/12": "127.0.0.0/8",
            }.items():  # fmt: skip
                text = text.replace(old, new)
            return text

        proxies = {host: stack.enter_context(run_proxy(conf("proxy.conf", host, service), tmp_path / host)) for host in PROXIES}
        stack.enter_context(run_proxy(conf("balancer.conf", "127.0.0.1", balancer), tmp_path / "balancer"))
        yield Place(balancer, proxies, redis)


def test_three_proxies_behind_a_balancer_have_one_limit_and_may_die(place: Place) -> None:
    def ask(number: int) -> int:
        return fetch(place.port, f"/{number}").status

    wait_until(lambda: fetch(place.port, "/").status == 200, "the proxies")
    time.sleep(2)
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(ask, range(120)))
    took = time.monotonic() - begin
    # A burst of 20 and one more, and 20 a second; three separate limits would admit 63.
    assert statuses.keys() <= {200, 429} and 21 <= statuses[200] <= 22 + 20 * took
    time.sleep(2)
    # The death of a proxy is no failed request.
    place.proxies[PROXIES[0]].kill()
    assert [ask(number) for number in range(15)] == [200] * 15
    time.sleep(2)
    # Redis that hangs is no failed request either.
    place.redis.process.send_signal(signal.SIGSTOP)
    try:
        assert [ask(number) for number in range(15)] == [200] * 15
    finally:
        place.redis.process.send_signal(signal.SIGCONT)


def test_a_client_is_known_by_its_address_behind_the_balancer(place: Place) -> None:
    """A client that names another address in X-Forwarded-For is limited by its own."""
    wait_until(lambda: fetch(place.port, "/").status == 200, "the proxies")
    statuses: Counter[bytes] = Counter()
    begin = time.monotonic()
    for number in range(100):
        head = f"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.{number}\r\nConnection: close\r\n\r\n"
        statuses[send_raw(place.port, head.encode())[9:12]] += 1
    assert statuses.keys() <= {b"200", b"429"} and statuses[b"200"] <= 22 + 20 * (time.monotonic() - begin)
