"""Pairs over machines through a real Redis: the rounds of each machine's leader."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis import Redis

from tests.support import wait_until
from tests.support.limits import PrivateMemory
from tests.support.redis import RedisServer
from wsgi_proxy.cluster import Link
from wsgi_proxy.config import Cluster, KeyvalZone
from wsgi_proxy.keyval import Rounds, Zone
from wsgi_proxy.keyval.sync import SharedZone


class Machine:
    """One machine: its zone, and its leader's part."""

    def __init__(self, url: str, memory: PrivateMemory | None = None, **settings: object) -> None:
        self.memory = memory or PrivateMemory()
        self.url = url
        self.zone = Zone(KeyvalZone("z", 1 << 20, sync=True, **settings), self.memory)  # type: ignore[arg-type]
        self.connect()

    def connect(self) -> None:
        self.link = Link(Cluster(self.url, "test", 30.0))
        self.leader = SharedZone(self.zone, self.link)

    def rounds(self) -> None:
        while self.leader.round():
            pass

    def values(self) -> dict[bytes, bytes | None]:
        return {key: entry.value for key, entry in self.zone.entries().items()}


@pytest.fixture
def machines(redis: RedisServer) -> Iterator[list[Machine]]:
    made = [Machine(redis.url) for _ in range(3)]
    yield made
    for machine in made:
        machine.link.close()


def settle(*machines: Machine) -> None:
    for _ in range(2):
        for machine in machines:
            machine.rounds()


def client(redis: RedisServer) -> Redis:
    return Redis(unix_socket_path=str(redis.socket))


def test_changes_reach_all_machines(machines: list[Machine]) -> None:
    one, two, three = machines
    one.zone.put((b"a", b"1", None), (b"b\xff", b"\x00 +2", None))
    two.zone.put((b"c", b"3", None))
    settle(*machines)
    assert one.values() == two.values() == three.values() == {b"a": b"1", b"b\xff": b"\x00 +2", b"c": b"3"}
    three.zone.put((b"a", None, None), (b"c", b"4", None))
    settle(*machines)
    assert one.values() == two.values() == three.values() == {b"b\xff": b"\x00 +2", b"c": b"4"}
    assert not any(machine.zone.pending() for machine in machines)


def test_the_last_change_in_redis_counts(machines: list[Machine]) -> None:
    one, two, _ = machines
    one.zone.put((b"k", b"one", None))
    two.zone.put((b"k", b"two", None))
    two.rounds()
    one.rounds()
    settle(*machines)
    assert one.values() == two.values() == {b"k": b"one"}


def test_a_change_made_during_a_round_is_not_lost(machines: list[Machine]) -> None:
    one, two, _ = machines
    one.zone.put((b"k", b"first", None))
    sent = {key: entry.number for key, entry in one.zone.pending().items()}
    one.zone.put((b"k", b"second", None))
    one.zone.take([(b"k", b"first", 0, 1)], sent)
    assert one.values() == {b"k": b"second"}
    settle(one, two)
    assert two.values() == {b"k": b"second"}


def test_expiry_reaches_all_machines_and_redis(machines: list[Machine], redis: RedisServer) -> None:
    one, two, _ = machines
    one.zone.put((b"k", b"v", int(time.time() * 1000) + 3_600_000), (b"soon", b"v", int(time.time() * 1000) + 1))
    settle(one, two)
    assert abs(two.zone.entries()[b"k"].expires - one.zone.entries()[b"k"].expires) < 60_000
    wait_until(lambda: b"soon" not in one.zone.entries() and b"soon" not in two.zone.entries())
    with client(redis) as server:

        def gone() -> bool:
            settle(one)
            return bool(server.hkeys("wsgi-proxy:{test}:kv:z:pairs") == [b"k"])

        wait_until(gone)
        assert server.zrange("wsgi-proxy:{test}:kv:z:versions", 0, -1) == [b"k"]


def test_many_pairs_come_in_parts(machines: list[Machine]) -> None:
    one, two, three = machines
    one.zone.put(*((b"%d" % number, b"v", None) for number in range(1300)))
    settle(one, two)
    assert len(two.values()) == 1300
    three.rounds()
    assert len(three.values()) == 1300


def test_redis_that_comes_back_empty_gets_the_pairs(machines: list[Machine], redis: RedisServer) -> None:
    one, two, three = machines
    one.zone.put((b"a", b"1", None), (b"b", b"2", None))
    settle(one, two)
    with client(redis) as server:
        server.flushall()
    two.zone.put((b"b", b"newer", None), (b"c", b"3", None))
    settle(one, two, three)
    assert one.values() == two.values() == three.values() == {b"a": b"1", b"b": b"newer", b"c": b"3"}


def test_a_machine_that_was_away_forgets_what_was_removed(machines: list[Machine], redis: RedisServer) -> None:
    """Redis has forgotten the removal, too: the machine reads all pairs again."""
    one, two, _ = machines
    one.zone.put((b"a", b"1", None), (b"b", b"2", None))
    settle(one, two)
    two.zone.put((b"own", b"kept", None))
    one.zone.put((b"a", None, None), (b"c", b"3", None))
    settle(one)
    with client(redis) as server:
        server.zadd("wsgi-proxy:{test}:kv:z:expiries", {"a": 1})
        settle(one)
        assert not server.hexists("wsgi-proxy:{test}:kv:z:pairs", "a")
    settle(two, one)
    assert one.values() == two.values() == {b"b": b"2", b"c": b"3", b"own": b"kept"}


def test_another_worker_goes_on_as_leader(machines: list[Machine]) -> None:
    one, two, _ = machines
    one.zone.put((b"a", b"1", None))
    settle(one, two)
    one.zone.put((b"b", b"2", None))
    successor = SharedZone(Zone(one.zone.settings, one.memory), one.link)
    assert successor._cursor == 1
    assert not successor.round()
    settle(two)
    assert two.values() == {b"a": b"1", b"b": b"2"}


def test_pairs_of_a_state_file_give_way_to_those_in_redis(redis: RedisServer) -> None:
    file = redis.socket.parent / "state.json"
    file.write_text('{"a": "file", "old": "file"}')
    first = Machine(redis.url, state=str(file))
    first.rounds()
    other = Machine(redis.url)
    settle(first, other)
    assert first.values() == other.values() == {b"a": b"file", b"old": b"file"}
    other.zone.put((b"a", b"redis", None), (b"old", None, None))
    other.rounds()
    file.write_text('{"a": "file", "old": "file"}')
    again = Machine(redis.url, state=str(file))
    settle(again, other)
    assert again.values() == other.values() == {b"a": b"redis"}
    for machine in (first, other, again):
        machine.link.close()


def test_a_full_redis_keeps_the_changes_for_later(machines: list[Machine], redis: RedisServer) -> None:
    one, two, _ = machines
    one.zone.put((b"a", b"1", None))
    settle(one, two)
    with client(redis) as server:
        server.config_set("maxmemory", "1")
        one.zone.put((b"b", b"2", None))
        settle(one, two)
        assert one.values() == {b"a": b"1", b"b": b"2"} and two.values() == {b"a": b"1"}
        assert list(one.zone.pending()) == [b"b"]
        server.config_set("maxmemory", "0")
    settle(one, two)
    assert two.values() == {b"a": b"1", b"b": b"2"} and not one.zone.pending()


def test_rounds_go_on_when_redis_is_back(redis: RedisServer) -> None:
    one, two = (Machine(redis.url) for _ in range(2))
    rounds = [Rounds(machine.zone, machine.link) for machine in (one, two)]
    one.zone.put(*((b"%d" % number, b"v", None) for number in range(1300)))
    rounds[0]()
    assert not one.zone.pending()
    redis.stop()
    two.zone.put((b"alone", b"v", None))
    with pytest.raises(OSError):
        rounds[1]()
    redis.socket.unlink(missing_ok=True)
    redis.start()

    def together() -> bool:
        for each in rounds:
            with suppress(OSError):
                each()
        return len(one.values()) == len(two.values()) == 1301

    wait_until(together)
    for machine in (one, two):
        machine.link.close()
