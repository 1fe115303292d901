"""Shared limits of the rate: the decisions of nginx's arithmetic, in Redis and over machines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.limits import PrivateMemory, exchange, text
from tests.support.redis import RedisServer
from wsgi_proxy.cluster import Link, SharedRates
from wsgi_proxy.config import Cluster, GuardSettings, LimitReq, LimitReqZone
from wsgi_proxy.errors import Refusal
from wsgi_proxy.limits.requests import RateCheck, RateZone

SLOW = 17
"""Thousandths of a request per second (1 r/m): a rate at which no test gains a request."""


RUNS = count()
"""Numbers that keep the keys of one run apart from another's."""


@pytest.fixture
def links(redis: RedisServer) -> Iterator[list[Link]]:
    """The connections of two machines of one cluster, and of one machine of another."""
    made = [Link(Cluster(redis.url, name, 30.0)) for name in ("a", "a", "b")]
    yield made
    for link in made:
        link.close()


def decisions(rates: SharedRates, times: int, burst: int, key: bytes = b"k") -> list[int]:
    return [rates.judge([("z", key, SLOW, burst * 1000)])[0] for _ in range(times)]


def test_machines_share_a_limit_and_clusters_do_not(links: list[Link]) -> None:
    one, two, other = map(SharedRates, links)
    assert decisions(one, 2, 3) + decisions(two, 2, 3) == [-1] * 4
    assert decisions(one, 1, 3) + decisions(two, 1, 3) == [0, 0]
    assert decisions(other, 4, 3) == [-1] * 4
    assert decisions(two, 1, 3, b"another key") == [-1]


def test_several_limits_count_all_or_none(links: list[Link]) -> None:
    rates = SharedRates(links[0])
    both = [("loose", b"k", SLOW, 3000), ("strict", b"k", SLOW, 1000)]
    assert [rates.judge(both)[0] for _ in range(4)] == [-1, -1, 1, 1]
    assert [rates.judge(both[:1])[0] for _ in range(3)] == [-1, -1, 0]


def test_a_record_drains_at_the_rate_and_leaves_redis(links: list[Link], redis: RedisServer) -> None:
    rates = SharedRates(links[0])
    fast = [("z", b"k", 1000_000, 0)]
    assert rates.judge(fast)[0] == -1
    deadline = time.monotonic() + 30
    while rates.judge(fast)[0] == 0:
        assert time.monotonic() < deadline
    client = Redis(unix_socket_path=str(redis.socket))
    keys: Any = client.keys("*")
    assert len(keys) == 1 and keys[0].startswith(b"wsgi-proxy:{a}:req:z:") and b"k" not in keys[0][-32:]
    while client.keys("*"):
        assert time.monotonic() < deadline, "a record without excess stays in Redis"
    client.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_script_decides_as_this_machine_does(links: list[Link], data: st.DataObject) -> None:
    """At a rate that gives nothing back within the test, local decisions are the oracle."""
    bursts = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    run = next(RUNS)
    zones = {f"z{n}": LimitReqZone(f"z{n}", text("k"), 32 * 1024, SLOW, sync=True) for n in range(len(bursts))}
    rules = GuardSettings(limit_req=tuple(LimitReq(name, burst, None) for name, burst in zip(zones, bursts, strict=True)))

    def check(shared: SharedRates | None) -> RateCheck:
        made = {name: RateZone(zone, PrivateMemory()) for name, zone in zones.items()}
        return RateCheck(rules, made, clock=lambda: 0, shared=shared)

    local, shared = check(None), check(SharedRates(links[0]))
    keys = data.draw(st.lists(st.sampled_from("ab"), max_size=8))

    def admitted(rate_check: RateCheck, key: str) -> bool:
        for limit in rate_check.limits:
            limit.zone.key = text(f"{run}{key}")
        try:
            rate_check(exchange())
        except Refusal:
            return False
        return True

    assert [admitted(local, key) for key in keys] == [admitted(shared, key) for key in keys]


def test_without_redis_this_machine_goes_on_from_the_shared_count(links: list[Link], redis: RedisServer) -> None:
    """The other machine has taken the burst, so this one admits nothing more."""
    checks = []
    for link in links[:2]:
        zone = RateZone(LimitReqZone("z", text("k"), 32 * 1024, SLOW, sync=True), PrivateMemory())
        rules = GuardSettings(limit_req=(LimitReq("z", 3, None),))
        checks.append(RateCheck(rules, {"z": zone}, clock=lambda: 0, shared=SharedRates(link)))
    one, two = checks
    one(exchange())
    for _ in range(2):
        two(exchange())
    one(exchange())
    with pytest.raises(Refusal):
        two(exchange())
    redis.stop()
    for check in checks:
        with pytest.raises(Refusal):
            check(exchange())


def test_without_redis_this_machine_goes_on_with_its_own_count(links: list[Link], redis: RedisServer) -> None:
    zone = RateZone(LimitReqZone("z", text("k"), 32 * 1024, SLOW, sync=True), PrivateMemory())
    rules = GuardSettings(limit_req=(LimitReq("z", 2, None),))
    check = RateCheck(rules, {"z": zone}, clock=lambda: 0, shared=SharedRates(links[0]))
    check(exchange())
    redis.stop()
    check(exchange())
    check(exchange())
    with pytest.raises(Refusal):
        check(exchange())
