"""Upstreams with `sync`: the failures, successes, checks and connections of several machines, in one Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from tests.support.pools import Clock
from tests.support.redis import RedisServer
from wsgi_proxy.balance.health import BAD, GOOD

from .machines import Machine

SERVER = {"max_fails": 3, "fail_timeout": 10.0}
Make = Callable[..., Machine]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(redis: RedisServer, clock: Clock) -> Iterator[Make]:
    """Returns a function that makes a machine whose clock is the test's."""
    made: list[Machine] = []

    def one(*options: dict[str, Any], **more: Any) -> Machine:
        made.append(Machine(redis.url, more.pop("clock", clock), *(options or (SERVER, SERVER)), **more))
        return made[-1]

    yield one
    for machine in made:
        machine.membership.close()


def machines(make: Make, count: int, *options: dict[str, Any], **more: Any) -> list[Machine]:
    """Machines in the order of their ids, after a first exchange of each."""
    made = sorted((make(*options, **more) for _ in range(count)), key=lambda machine: machine.membership.machine)
    rounds(made, 2)
    return made


def rounds(made: list[Machine], count: int = 1) -> None:
    for _ in range(count):
        for machine in made:
            machine.round()


def test_failures_of_all_machines_count_together(make: Make) -> None:
    made = machines(make, 4)
    tries = 0
    for turn in range(10):
        tries += made[turn % 4].request(0, failed=True)
        rounds(made, 2)
    assert tries == 3
    assert [machine.fails(0) for machine in made] == [3] * 4
    assert [machine.pool.health.standing(0).failures for machine in made] == [3] * 4
    assert all(machine.request(1) for machine in made), "the other server is used"


def test_failures_at_the_same_time_add_up(make: Make) -> None:
    made = machines(make, 4, {"max_fails": 10, "fail_timeout": 10.0}, SERVER)
    for machine in made:
        machine.request(0, failed=True)
        machine.request(0, failed=True)
    rounds(made, 2)
    assert [machine.fails(0) for machine in made] == [8] * 4


def test_a_success_clears_the_failures_on_all_machines(make: Make, clock: Clock) -> None:
    made = machines(make, 3, {**SERVER, "slow_start": 10.0}, SERVER)
    for _ in range(3):
        assert made[0].request(0, failed=True)
    rounds(made, 2)
    clock.now += 11
    assert made[0].request(0)
    rounds(made, 2)
    assert [machine.fails(0) for machine in made] == [0] * 3
    # Every machine starts it slowly.
    assert {machine.pool.health.share(0, int(clock.now)) for machine in made} == {5 / 64}
    made[1].request(0, failed=True)
    rounds(made, 2)
    assert [machine.fails(0) for machine in made] == [1] * 3


def test_one_machine_probes_after_the_quarantine(make: Make, clock: Clock) -> None:
    made = machines(make, 4)
    for _ in range(3):
        made[2].request(0, failed=True)
    rounds(made, 2)
    clock.now += 11
    assert [machine.request(0, failed=True) for machine in reversed(made)] == [False, False, False, True]
    rounds(made, 2)
    clock.now += 9
    assert not any(machine.request(0) for machine in made), "all wait for another fail_timeout"
    # Without requests at the first machine the second one probes two seconds later.
    clock.now += 4
    assert not made[2].request(0)
    assert made[1].request(0)
    rounds(made, 2)
    assert [machine.fails(0) for machine in made] == [0] * 4


def test_a_probe_in_progress_keeps_the_others_waiting(make: Make, clock: Clock) -> None:
    one, two = machines(make, 2)
    for _ in range(3):
        one.request(0, failed=True)
    rounds([one, two], 2)
    clock.now += 11
    probe = one.lease({one.pool.peers[1]})
    rounds([one, two], 2)
    clock.now += 5
    assert not two.request(0)
    probe.settle()
    rounds([one, two], 2)
    assert two.request(0)


def test_clocks_need_not_agree(make: Make, clock: Clock) -> None:
    one, two = sorted((make(clock=clock), make(clock=Clock(5_000_000.0))), key=lambda machine: machine.membership.machine)
    rounds([one, two], 2)
    for _ in range(3):
        assert one.request(0, failed=True)
    rounds([one, two], 2)
    assert not two.request(0)
    two.clock.now += 8
    assert not two.request(0)
    two.clock.now += 6
    assert two.request(0)


def test_a_new_machine_adopts_the_state(make: Make) -> None:
    made = machines(make, 2)
    for _ in range(3):
        made[0].request(0, failed=True)
    made[0].pool.checked(made[0].pool.peers[1], False)
    rounds(made, 2)
    late = make()
    late.round()
    assert late.fails(0) == 3
    assert late.pool.health.standing(1).check == BAD
    rounds([late, *made], 2)
    assert [machine.fails(0) for machine in made] == [3, 3], "it has told nothing new"


def test_an_empty_redis_learns_the_state_again(make: Make, redis: RedisServer) -> None:
    made = machines(make, 3)
    made[0].request(0, failed=True)
    made[1].request(0, failed=True)
    made[0].pool.checked(made[0].pool.peers[1], False)
    rounds(made, 2)
    client = Redis(unix_socket_path=str(redis.socket))
    client.flushall()
    client.close()
    rounds(made, 3)
    assert [machine.fails(0) for machine in made] == [2] * 3, "they do not add up"
    late = make()
    late.round()
    assert late.fails(0) == 2
    assert late.pool.health.standing(1).check == BAD
    made[2].request(0, failed=True)
    rounds([late, *made], 2)
    assert [machine.fails(0) for machine in (late, *made)] == [3] * 4


def test_results_of_checks_hold_for_all_machines(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    one, two = machines(make, 2)
    for good, word in ((False, "unhealthy"), (True, "healthy")):
        assert one.pool.checked(one.pool.peers[0], good)
        rounds([one, two], 2)
        assert two.pool.health.standing(0).check == (GOOD if good else BAD)
        assert two.request(0) is good
        assert f'peer 127.0.0.1:19001 of upstream "u" is {word}: another machine has checked it' in caplog.messages[-1]


def test_one_machine_runs_the_checks_and_another_takes_over(make: Make, redis: RedisServer) -> None:
    one, two = machines(make, 2)
    assert one.synced.leads(one.pool) and not two.synced.leads(two.pool)
    client = Redis(unix_socket_path=str(redis.socket))
    assert 0 < client.pttl("wsgi-proxy:{a}:task:checks") <= 3000
    client.delete("wsgi-proxy:{a}:task:checks")
    client.close()
    two.membership._tasks.clear()
    assert two.synced.leads(two.pool)
    one.membership._tasks.clear()
    assert not one.synced.leads(one.pool)
    redis.stop()
    one.membership._tasks.clear()
    assert one.synced.leads(one.pool), "without Redis each machine checks"


def test_least_conn_and_max_conns_see_the_connections_of_all_machines(make: Make) -> None:
    one, two = machines(make, 2, {"max_conns": 3}, {}, policy="least_conn")
    held = [one.lease({one.pool.peers[1]}) for _ in range(2)]
    rounds([one, two], 2)
    assert two.connections(0) == 2
    assert [two.lease().peer.index for _ in range(2)] == [1, 1]
    assert two.lease({two.pool.peers[1]}).peer.index == 0
    assert not two.request(0), "three connections in all"
    for lease in held:
        lease.settle()
    rounds([one, two], 2)
    assert two.request(0)
    assert one.connections(0) == 1 and one.connections(1) == 2


def test_the_connections_of_a_dead_machine_end_with_its_lease(make: Make, redis: RedisServer) -> None:
    one, two = machines(make, 2)
    one.lease()
    rounds([one, two], 2)
    assert sum(two.connections(server) for server in (0, 1)) == 1
    client = Redis(unix_socket_path=str(redis.socket))
    key = "wsgi-proxy:{a}:upstream-connections:u"
    counts = client.hget(key, one.membership.machine).split(b" ", 1)
    assert 0 < client.pttl(key) <= 30_000
    client.hset(key, one.membership.machine, b"1 " + counts[1])
    client.close()
    two.round()
    assert sum(two.connections(server) for server in (0, 1)) == 0


def test_without_redis_a_machine_is_alone_and_joins_again(make: Make, redis: RedisServer, clock: Clock) -> None:
    one, two = machines(make, 2)
    one.lease({one.pool.peers[1]})
    two.request(0, failed=True)
    rounds([one, two], 2)
    assert two.connections(0) == 1
    redis.stop()
    for machine in (one, two):
        with pytest.raises(OSError, match="Redis"):
            machine.round()
    assert two.connections(0) == 0 and one.connections(0) == 1
    assert one.fails(0) == 1
    two.request(0, failed=True)
    redis.start()
    for machine in (one, two):
        machine.membership.link._resting_until = 0.0
    rounds([one, two], 3)
    assert [machine.fails(0) for machine in (one, two)] == [2, 2]
    assert two.connections(0) == 1


def test_machines_with_other_servers_share_those_they_have_in_common(make: Make) -> None:
    one, two = make(SERVER, SERVER), make(SERVER, SERVER, ports=19002)
    rounds([one, two], 2)
    for _ in range(3):
        assert one.request(1, failed=True)
    rounds([one, two], 2)
    assert (one.fails(0), one.fails(1), two.fails(0), two.fails(1)) == (0, 3, 3, 0)
    assert two.request(1) and not two.request(0)


def test_requests_between_the_halves_of_an_exchange_are_told_later(make: Make, clock: Clock) -> None:
    """A failure and a success while Redis is asked neither get lost nor count twice."""
    one, two = machines(make, 2)
    one.request(0, failed=True)
    two.request(0, failed=True)
    two.round()
    link = one.membership.link
    run = link.run

    def slow(*arguments: Any) -> Any:
        found = run(*arguments)
        one.request(0, failed=True)
        return found

    link.run = slow  # type: ignore[method-assign]
    one.round()
    link.run = run  # type: ignore[method-assign]
    assert one.fails(0) == 3
    rounds([one, two], 2)
    assert [machine.fails(0) for machine in (one, two)] == [3, 3]
    clock.now += 11

    def slow_success(*arguments: Any) -> Any:
        found = run(*arguments)
        one.request(0)
        return found

    link.run = slow_success  # type: ignore[method-assign]
    one.round()
    link.run = run  # type: ignore[method-assign]
    rounds([one, two], 2)
    assert [machine.fails(0) for machine in (one, two)] == [0, 0]


def test_a_probe_between_the_halves_of_an_exchange_is_told_later(make: Make, clock: Clock) -> None:
    one, two = machines(make, 2)
    for _ in range(3):
        one.request(0, failed=True)
    rounds([one, two], 2)
    clock.now += 11
    # The state changes, so that the exchange brings news.
    two.request(1, failed=True)
    two.round()
    link = one.membership.link
    run = link.run
    probes = []

    def slow(*arguments: Any) -> Any:
        found = run(*arguments)
        probes.append(one.lease({one.pool.peers[1]}))
        return found

    link.run = slow  # type: ignore[method-assign]
    one.round()
    link.run = run  # type: ignore[method-assign]
    rounds([one, two], 2)
    clock.now += 5
    assert not two.request(0), "the first machine probes"
    probes[0].settle()
