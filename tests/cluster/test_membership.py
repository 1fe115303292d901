"""The machines of a cluster: leases that end with their machine, and workers that end with their process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import wait_until
from tests.support.redis import RedisServer
from wsgi_proxy.cluster import Membership
from wsgi_proxy.config import Cluster
from wsgi_proxy.shm import PrivateMemory, SharedMemory

Make = Callable[..., Membership]


@pytest.fixture
def make(redis: RedisServer) -> Iterator[Make]:
    """Returns a function that makes the membership of another machine, or with `memory` of another worker."""
    made: list[Membership] = []

    def one(name: str = "a", memory: SharedMemory | None = None) -> Membership:
        made.append(Membership(Cluster(redis.url, name, 30.0), memory or PrivateMemory()))
        return made[-1]

    yield one
    for membership in made:
        membership.close()


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Any]:
    client = Redis(unix_socket_path=str(redis.socket))
    yield client
    client.close()


def ids(membership: Membership) -> list[str]:
    return sorted(machine.id for machine in membership.machines())


def test_machines_know_each_other_and_clusters_do_not(make: Make) -> None:
    one, two, other = make(), make(), make("b")
    for membership in (one, two, other):
        membership.renew()
    assert ids(one) == ids(two) == sorted([one.machine, two.machine])
    assert ids(other) == [other.machine]
    found = one.machines()[0]
    assert (found.name, found.workers) == (os.uname().nodename, 1)
    assert abs(found.since - time.time()) < 3600


def test_a_machine_is_gone_when_its_lease_ends(make: Make, client: Any) -> None:
    one, two = make(), make()
    one.renew()
    two.renew()
    end_lease(client, one.machine)
    assert ids(two) == [two.machine]
    two.renew()
    assert client.hkeys("wsgi-proxy:{a}:machines") == [two.machine.encode()]
    assert 0 < client.pttl("wsgi-proxy:{a}:machines") <= 30_000
    one.renew()
    assert ids(two) == sorted([one.machine, two.machine])


def end_lease(client: Any, machine: str) -> None:
    entry = client.hget("wsgi-proxy:{a}:machines", machine)
    client.hset("wsgi-proxy:{a}:machines", machine, b"1 " + entry.partition(b" ")[2])


def test_dead_workers_are_removed(make: Make, client: Any) -> None:
    one, two = make(), make()
    far = int(time.time() * 1000) + 10**9
    workers = "wsgi-proxy:{a}:workers"
    lost, other, expired = f"{one.machine}.5.7", f"{two.machine}.1.1", f"{two.machine}.2.2"
    client.hset(workers, mapping={lost: f"1 {far}", other: f"1 {far}", expired: "1 1", one.worker: f"1 {far}"})
    one.renew()
    assert sorted(client.hkeys(workers)) == sorted([other.encode(), one.worker.encode()])


def test_rounds_go_on_after_redis_was_away(redis: RedisServer) -> None:
    """The leases are renewed in a Redis that comes back empty, and steps run on although one of them fails."""
    membership = Membership(Cluster(redis.url, "a", 0.5), PrivateMemory())
    rounds = []

    def defect() -> None:
        raise RuntimeError("a defect")

    membership.each_round += [defect, lambda: rounds.append(1)]
    membership.begin()
    try:
        client = Redis(unix_socket_path=str(redis.socket))
        wait_until(lambda: client.hexists("wsgi-proxy:{a}:machines", membership.machine))
        redis.process.send_signal(signal.SIGKILL)
        redis.process.wait(30)
        client.close()
        before = len(rounds)
        wait_until(lambda: len(rounds) > before + 2)
        redis.socket.unlink(missing_ok=True)
        redis.start()
        client = Redis(unix_socket_path=str(redis.socket))
        wait_until(lambda: client.hexists("wsgi-proxy:{a}:machines", membership.machine))
        client.close()
    finally:
        membership.close()


def test_the_workers_of_a_machine_log_a_failure_once(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    memory = PrivateMemory()
    workers = [Membership(Cluster(redis.url, "a", 30.0), memory) for _ in range(3)]
    other = Membership(Cluster(redis.url, "a", 30.0), PrivateMemory())
    redis.stop()
    for worker in (*workers, *workers, other):
        with pytest.raises(OSError, match="Redis"):
            worker.machines()
    assert len(caplog.records) == 2


def test_the_workers_of_a_machine_share_its_id(redis: RedisServer, tmp_path: Path) -> None:
    memory = SharedMemory.open(f"cluster {tmp_path}")
    read, write = os.pipe()
    one = Membership(Cluster(redis.url, "a", 30.0), memory)
    child = os.fork()
    if child == 0:
        other = Membership(Cluster(redis.url, "a", 30.0), memory)
        os.write(write, f"{other.machine} {other.worker}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    machine, worker = os.read(read, 200).decode().split()
    os.close(read)
    os.close(write)
    assert machine == one.machine and worker.startswith(f"{machine}.") and worker != one.worker


def test_machines_read_the_figures_of_each_other(make: Make) -> None:
    one, two = make(), make()
    one.figures += [lambda: {"a": 1}, lambda: {"b": [2]}]
    one.renew()
    (machine,) = two.machines()
    assert machine.figures == {"a": 1, "b": [2]} and 0 <= machine.seen < 60
