"""Shared limits of connections: exact over machines, and no count that outlives its worker, its connection or Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from tests.support.limits import exchange, text
from tests.support.redis import RedisServer
from wsgi_proxy.cluster import Membership, SharedConnections
from wsgi_proxy.config import Cluster, GuardSettings, LimitConn, LimitConnZone
from wsgi_proxy.errors import Refusal
from wsgi_proxy.limits import ConnectionCheck, ConnectionZone
from wsgi_proxy.shm import PrivateMemory

WORKERS = "wsgi-proxy:{a}:workers"


class Machine:
    """One machine with one worker."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.membership = Membership(Cluster(url, "a", timeout), PrivateMemory())
        self.shared = SharedConnections(self.membership)

    def take(self, number: int, key: bytes = b"k", zone: str = "z") -> Any:
        """Return the counted request; None if it is refused."""
        return self.shared.take([(zone, key, number)])[1]

    def taken(self, number: int, times: int, key: bytes = b"k") -> int:
        return sum(self.take(number, key) is not None for _ in range(times))


@pytest.fixture
def machine(redis: RedisServer) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def one(timeout: float = 30.0) -> Machine:
        made.append(Machine(redis.url, timeout))
        return made[-1]

    yield one
    for each in made:
        each.membership.close()


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Any]:
    client = Redis(unix_socket_path=str(redis.socket))
    yield client
    client.close()


def total(client: Any) -> int:
    """All counts in Redis, of living workers and of others."""
    return sum(int(entry.split()[1]) for key in client.keys("*:conn:*") for entry in client.hvals(key))


def test_machines_share_a_limit(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    held = [one.take(3), two.take(3), two.take(3)]
    assert all(held)
    assert one.take(3) is None and two.take(3) is None
    assert one.take(3, b"another key") is not None
    held[1].close()
    held[1].close()
    # A second request of that worker follows on the same connection.
    assert two.take(3) is not None
    assert one.take(3) is None
    assert total(client) == 4


def test_the_last_request_leaves_no_record(machine: Any, client: Any) -> None:
    one = machine()
    held = [one.take(3) for _ in range(3)]
    assert len(client.keys("*:conn:*")) == 1
    assert 0 < client.pttl(client.keys("*:conn:*")[0]) <= 30_000
    for each in held:
        each.close()
    one.shared.announce()
    assert not client.keys("*:conn:*")


def test_several_limits_count_all_or_none(machine: Any, client: Any) -> None:
    one = machine()
    both = [("loose", b"k", 5), ("strict", b"k", 1)]
    refused, held = one.shared.take(both)
    assert refused == -1
    assert one.shared.take(both) == (1, None)
    assert total(client) == 2
    held.close()
    assert one.shared.take(both)[0] == -1
    assert one.shared.take([("strict", b"k", 1), ("loose", b"k", 5)]) == (0, None)


def test_concurrent_requests_take_exactly_the_number(machine: Any) -> None:
    machines = [machine() for _ in range(4)]
    with ThreadPoolExecutor(32) as pool:
        assert sum(held is not None for held in pool.map(lambda turn: machines[turn % 4].take(10), range(200))) == 10


def test_never_more_than_the_number_at_any_time(machine: Any, client: Any) -> None:
    machines = [machine() for _ in range(4)]
    present, most = [], []

    def ask(turn: int) -> None:
        held = machines[turn % 4].take(5)
        if held is not None:
            present.append(1)
            most.append(len(present))
            time.sleep(0.001)
            # It ends for the others only after it is over here.
            present.pop()
            held.close()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(ask, range(2000)))
    assert len(most) > 5 >= max(most)
    for each in machines:
        each.shared.announce()
    assert total(client) == 0


def test_the_counts_of_a_dead_machine_end_with_its_lease(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    assert one.taken(3, 2) == 2
    assert two.taken(3, 2) == 1
    announced, ends = client.hget(WORKERS, one.membership.worker).split()
    assert 0 < int(ends) - time.time() * 1000 <= 10_000
    client.hset(WORKERS, one.membership.worker, announced + b" 1")
    assert two.taken(3, 3) == 2
    # The first machine was only away: its requests count again when it renews its lease.
    one.shared.announce()
    assert two.take(5) is None and two.take(6) is not None


def test_a_worker_that_its_machine_has_lost_counts_no_longer(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    assert two.taken(3, 3) == 3
    entry = client.hget(WORKERS, two.membership.worker)
    lost = f"{one.membership.machine}.9.9"
    client.hset(WORKERS, lost, entry)
    client.hset(client.keys("*:conn:z:*")[0], lost, "0 2")
    assert two.take(5) is None
    one.membership.renew()
    assert two.taken(5, 3) == 2


def test_an_empty_redis_learns_the_counts_again(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    first = one.take(3)
    assert one.taken(3, 1) == 1
    client.flushall()
    one.shared.announce()
    assert two.taken(3, 3) == 1
    client.flushall()
    # A worker that asks before it has announced itself is told to do so first.
    assert one.taken(3, 2) == 1
    assert two.take(3) is None, "the requests of a worker that has announced itself count"
    # The first machine was admitted before the second had told its count: three and one.
    first.close()
    assert one.taken(4, 2) == 1


def test_a_record_that_redis_has_evicted_is_made_again(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    held = [one.take(3), one.take(3)]
    client.delete(*client.keys("*:conn:*"))
    assert one.taken(3, 2) == 1
    client.delete(*client.keys("*:conn:*"))
    held[0].close()
    one.shared.announce()
    assert two.taken(3, 2) == 1


def test_the_end_of_a_request_that_redis_missed_is_told_later(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    held = [one.take(3), one.take(3)]
    assert two.taken(3, 1) == 1
    client.client_kill_filter(_type="normal", skipme=True)
    for each in held:
        each.close()
    deadline = time.monotonic() + 30
    while one.membership.link.failures == 0 or not answers(one):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    until_announced(two)
    assert one.taken(3, 1) == 1
    assert two.taken(3, 2) == 1


def answers(one: Machine) -> bool:
    try:
        return one.membership.machines() is not None
    except OSError:
        return False


def test_requests_that_began_without_redis_are_counted_when_it_is_back(redis: RedisServer, machine: Any) -> None:
    one, two = machine(), machine()
    assert one.taken(3, 1) == 1
    redis.stop()
    held = one.take(3)
    assert held is not None and one.taken(3, 1) == 1, "this machine's count decides"
    redis.start()
    for each in (one, two):
        until_announced(each)
    assert two.take(3) is None and two.take(4) is not None
    held.close()
    until_announced(one)
    assert two.take(4) is not None


def until_announced(one: Machine) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            one.shared.announce()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_full_redis_leaves_no_count_behind(machine: Any, client: Any) -> None:
    """Records that it refused to change are replaced when it has room again."""
    one, two = machine(), machine()
    held = [one.take(3), one.take(3)]
    client.config_set("maxmemory", "1")
    held.append(one.take(3))
    assert all(held)
    for each in held:
        each.close()
    client.config_set("maxmemory", "0")
    until_announced(one)
    assert two.taken(3, 4) == 3


def test_a_location_counts_a_request_here_and_in_the_cluster(machine: Any, client: Any) -> None:
    one, two = machine(), machine()
    checks = []
    for each in (one, two):
        zones = {
            "here": ConnectionZone(LimitConnZone("here", text("k"), 32 * 1024), PrivateMemory()),
            "all": ConnectionZone(LimitConnZone("all", text("k"), 32 * 1024, sync=True), PrivateMemory()),
        }
        rules = GuardSettings(limit_conn=(LimitConn("here", 2), LimitConn("all", 3)))
        checks.append((ConnectionCheck(rules, zones, each.shared), zones))
    (first, zones), (second, _) = checks
    present = []
    for check in (first, first, second):
        present.append(exchange())
        check(present[-1])
    for check in (first, second):
        with pytest.raises(Refusal):
            check(exchange())
    assert total(client) == 3, "a request that this machine refuses is not counted in the cluster"
    for each in present:
        for lease in each.leases:
            lease.close()
    for one_check, its_zones in checks:
        assert not any(list(zone.table.records()) for zone in its_zones.values())
        one_check(exchange())
    assert zones["all"].sync
