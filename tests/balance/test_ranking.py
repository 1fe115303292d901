"""The maintained order gives the same sequence as the walk, whatever happens in between."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pools import Clock, Request
from wsgi_proxy.balance import policies as balance
from wsgi_proxy.balance.ranking import Ranked
from wsgi_proxy.config import Policy, Server
from wsgi_proxy.errors import NoLiveUpstreams
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.upstream.pool import Lease, Pool
from wsgi_proxy.upstream.pool_state import Runtime

METHODS = [
    Policy("round_robin"), Policy("least_conn"), Policy("least_time", options=("header",)),
    Policy("least_time", options=("last_byte",)),
]  # fmt: skip


class Side:
    """A pool and the leases open in it; all its steps give the index of the peer chosen, -1 when there is none."""

    def __init__(self, servers: list[Server], policy: Policy, walked_max: int, clock: Clock) -> None:
        with patch.object(balance, "WALKED_MAX", walked_max):
            self.pool = Pool(servers, policy, runtime=Runtime(PrivateMemory(), clock=clock))
        self.open: list[Lease] = []

    def lease(self) -> int:
        return self._lease(Request())

    def _lease(self, request: Request) -> int:
        try:
            self.open.append(self.pool.lease(request))
        except NoLiveUpstreams:
            return -1
        return self.open[-1].peer.index

    def settle(self, which: int, failed: bool, time: float) -> int:
        if not self.open:
            return -1
        lease = self.open.pop(which % len(self.open))
        lease.settle(failed, None if failed else time, None if failed else time * 2)
        return lease.peer.index

    def retry(self, failures: int) -> list[int]:
        """A request that fails so often and then stays open."""
        request, chosen = Request(), []
        for number in range(failures + 1):
            chosen.append(self._lease(request))
            if chosen[-1] < 0:
                break
            if number < failures:
                self.open.pop().settle(True)
        return chosen


server = st.fixed_dictionaries(
    {
        "weight": st.sampled_from([1, 1, 1, 2, 3, 5, 10]),
        "max_fails": st.sampled_from([0, 1, 1, 3]),
        "fail_timeout": st.sampled_from([1.0, 10.0]),
        "max_conns": st.sampled_from([0, 0, 0, 1, 3]),
        "down": st.sampled_from([False, False, False, True]),
        "backup": st.sampled_from([False, False, False, True]),
    }
)
step = st.one_of(
    st.just(("lease",)),
    st.just(("lease",)),
    st.tuples(st.just("settle"), st.integers(0, 50), st.booleans(), st.sampled_from([0.0, 0.03, 0.15, 2.0])),
    st.tuples(st.just("retry"), st.integers(1, 3)),
    st.tuples(st.just("pass"), st.sampled_from([1, 2, 11])),
)


@pytest.mark.parametrize("policy", METHODS, ids=lambda policy: "_".join([policy.name, *policy.options]))
@settings(max_examples=120, deadline=None)
@given(options=st.lists(server, min_size=2, max_size=9), steps=st.lists(step, min_size=20, max_size=150))
def test_the_kept_order_is_the_walks(policy: Policy, options: list[dict[str, Any]], steps: list[tuple[Any, ...]]) -> None:
    servers = [Server(f"127.0.0.1:{10000 + number}", **option) for number, option in enumerate(options)]
    if all(server.backup for server in servers):
        return
    clock = Clock()
    walking, ranked = Side(servers, policy, 100, clock), Side(servers, policy, 0, clock)
    assert isinstance(ranked.pool._lineup.main, Ranked)
    assert not isinstance(walking.pool._lineup.main, Ranked)
    for number, (kind, *arguments) in enumerate(steps):
        if kind == "pass":
            clock.now += arguments[0]
        else:
            expected = getattr(walking, kind)(*arguments)
            assert getattr(ranked, kind)(*arguments) == expected, f"step {number}: {kind} {arguments}"
    assert ranked.pool.counts.totals == walking.pool.counts.totals


@pytest.mark.parametrize("policy", METHODS, ids=lambda policy: "_".join([policy.name, *policy.options]))
def test_hundreds_of_servers_in_the_walks_order(policy: Policy) -> None:
    servers = [Server(f"127.0.0.1:{10000 + number}", weight=1 + number % 3) for number in range(200)]
    clock = Clock()
    walking, ranked = Side(servers, policy, 1000, clock), Side(servers, policy, 0, clock)
    for number in range(1500):
        assert ranked.lease() == walking.lease()
        if number % 3:
            time = (number * 37 % 11) / 10
            assert ranked.settle(number * 7, False, time) == walking.settle(number * 7, False, time)


def test_the_heaps_do_not_grow_with_the_requests() -> None:
    servers = [Server(f"127.0.0.1:{10000 + number}", weight=1 + number % 4) for number in range(40)]
    side = Side(servers, Policy("least_conn"), 0, Clock())
    for number in range(5000):
        side.lease()
        if number > 60:
            side.settle(number * 31, False, 0.0)
    balancer = side.pool._lineup.main
    assert isinstance(balancer, Ranked)
    rotations = balancer._ranking._rotations
    assert len(rotations) < 100
    assert sum(len(heap) for rotation in rotations.values() for heap in rotation._heaps.values()) < 40 * 100


def test_a_slow_start_is_a_slow_start_in_any_size() -> None:
    clock = Clock()
    servers = [Server("127.0.0.1:1", weight=4, slow_start=10.0, fail_timeout=1.0), Server("127.0.0.1:2", weight=4)]
    walking, ranked = Side(servers, METHODS[0], 100, clock), Side(servers, METHODS[0], 0, clock)
    chosen: dict[Side, list[int]] = {walking: [], ranked: []}
    for side, list_ in chosen.items():
        clock.now = 1000.0
        side.retry(1)
        for _ in range(15):
            clock.now += 1
            for _ in range(20):
                list_.append(side.lease())
                side.settle(0, False, 0.0)
    assert chosen[walking] == chosen[ranked]
    assert chosen[ranked][40:60].count(0) < 5 and chosen[ranked][-20:].count(0) == 10
