"""The method random with `two`. The contract of all policies is in test_policies.py."""

from __future__ import annotations

from tests.balance.groups import Request, group
from wsgi_proxy.balance.health import HEADER_MS
from wsgi_proxy.balance.random_choice import Random
from wsgi_proxy.config import Policy


def test_random_two_takes_the_one_with_fewer_connections() -> None:
    g = group([1, 1])
    made = Random(g, Policy("random", options=("two", "least_conn")))
    g.conns[0] = 5
    assert {made.pick(Request(), None, 0) for _ in range(50)} == {g.peers[1]}


def test_random_two_can_go_by_time() -> None:
    g = group([1, 1])
    g.health.measured(HEADER_MS, 1, 900)
    made = Random(g, Policy("random", options=("two", "least_time=header")))
    assert made.measures
    assert {made.pick(Request(), None, 0) for _ in range(50)} == {g.peers[0]}
