"""The exchange in Redis: changes that add up, values that count where they are higher, and a state that ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.support.redis import RedisServer
from wsgi_proxy.cluster import Membership
from wsgi_proxy.config import Cluster
from wsgi_proxy.shm import PrivateMemory
from wsgi_proxy.upstream.sync.exchange import Change, Learnt, Told, exchange


@pytest.fixture
def members(redis: RedisServer) -> Iterator[list[Membership]]:
    made = [Membership(Cluster(redis.url, "a", 30.0), PrivateMemory()) for _ in range(3)]
    made.sort(key=lambda membership: membership.machine)
    yield made
    for membership in made:
        membership.close()


def tell(membership: Membership, *changes: Change, known: str = "", version: int = -1, counts: str | None = None) -> Learnt:
    return exchange(membership, [Told("u", known, version, changes, counts)], False)[0]


def test_an_upstream_without_news_is_not_sent_again(members: list[Membership]) -> None:
    first = tell(members[0])
    assert first.servers == {}
    again = tell(members[0], known=first.id, version=first.version)
    assert (again.id, again.version, again.servers) == (first.id, first.version, None)
    told = tell(members[1], Change("a", failures=2), known=first.id, version=first.version)
    assert told.version > first.version
    heard = tell(members[0], known=first.id, version=first.version)
    assert heard.servers == told.servers and heard.version == told.version


def test_changes_add_up_and_values_do_not(members: list[Membership]) -> None:
    known = tell(members[0]).id
    for membership in members:
        learnt = tell(membership, Change("a", failures=1), known=known)
    assert learnt.servers is not None
    state = learnt.servers["a"]
    assert (state.fails, state.failures, state.failed) == (3, 3, learnt.now)
    lower = tell(members[0], Change("a", least=2, age=0))
    assert lower.servers == learnt.servers
    higher = tell(members[0], Change("a", least=5, age=60_000)).servers
    assert higher is not None and (higher["a"].fails, higher["a"].failures, higher["a"].failed) == (5, 5, state.failed)


def test_a_success_leaves_the_failures_after_it(members: list[Membership]) -> None:
    known = tell(members[0], Change("a", failures=4)).id
    learnt = tell(members[1], Change("a", failures=1, left=1), known=known).servers
    assert learnt is not None and (learnt["a"].fails, learnt["a"].failures, learnt["a"].clears) == (1, 5, 1)


def test_values_do_not_replace_the_result_of_a_check(members: list[Membership]) -> None:
    known = tell(members[0], Change("a", health=2, age=0)).id
    tell(members[0], Change("a", health=1), known=known)
    learnt = tell(members[1], Change("a", health=2, age=0)).servers
    assert learnt is not None and (learnt["a"].health, learnt["a"].health_changes) == (1, 2)


def test_changes_to_a_lost_state_are_not_counted(members: list[Membership], redis: RedisServer) -> None:
    known = tell(members[0], Change("a", failures=1)).id
    client = Redis(unix_socket_path=str(redis.socket))
    client.flushall()
    client.close()
    lost = tell(members[0], Change("a", failures=1), known=known)
    assert lost.id != known and lost.servers is None
    assert tell(members[0]).servers == {}


def test_the_sums_are_of_the_other_machines(members: list[Membership]) -> None:
    for membership in members:
        tell(membership, counts="a=2 b=1")
    tell(members[2], counts="b=5")
    learnt = [tell(membership) for membership in members]
    assert [each.sums for each in learnt] == [{"a": 2, "b": 6}, {"a": 2, "b": 6}, {"a": 4, "b": 2}]
    assert [each.rank for each in learnt] == [0, 1, 2]


def test_the_state_ends_when_no_machine_renews_it(members: list[Membership], redis: RedisServer) -> None:
    exchange(members[0], [Told("u", "", -1, [Change("a", failures=1)], "a=1")], True)
    client: Any = Redis(unix_socket_path=str(redis.socket))
    keys = client.keys("*")
    assert len(keys) == 2 and all(0 < client.pttl(key) <= 30_000 for key in keys)
    client.close()
