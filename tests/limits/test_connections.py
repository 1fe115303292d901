"""limit_conn: exact counts, workers that die, and workers that share the real memory."""

from __future__ import annotations

import logging
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import pytest

from tests.support.limits import PrivateMemory, argument, exchange
from wsgi_proxy.config import GuardSettings, LimitConn, LimitConnZone, LimitReqZone
from wsgi_proxy.errors import Refusal
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.limits.connections import ConnectionCheck, ConnectionZone
from wsgi_proxy.limits.requests import Rate, RateZone, judge
from wsgi_proxy.shm.shared_memory import SharedMemory


def zone(memory: Any = None, size: int = 32 * 1024, name: str = "addr", key: str = "k") -> ConnectionZone:
    return ConnectionZone(LimitConnZone(name, argument(key), size), memory or PrivateMemory())


def test_counts_up_to_the_number() -> None:
    z = zone()
    held = [z.take(b"a", 2) for _ in range(3)]
    assert held[0] and held[1] and held[2] is None
    assert z.take(b"b", 2)
    held[0].close()
    held[0].close()
    again = z.take(b"a", 2)
    assert again and z.take(b"a", 2) is None
    again.close()
    held[1].close()
    assert len(list(z.table.records())) == 1, "a key nobody holds needs no memory"


def test_all_workers_are_counted_together_and_the_dead_are_not() -> None:
    memory = PrivateMemory()
    memory.generations = {0: 1, 1: 2, 2: 3}
    z = zone(memory)
    for slot in (0, 1, 2):
        memory.slot = slot
        assert z.take(b"a", 3)
    assert z.take(b"a", 3) is None
    memory.dying = {1}
    assert z.take(b"a", 3)
    assert z.take(b"a", 3) is None
    # Another worker in the dead one's slot starts from nothing.
    memory.generations[1] = 4
    memory.slot = 1
    memory.dying = {0}
    assert z.take(b"a", 3)
    assert z.take(b"a", 3) is None


def test_a_full_table_drops_the_dead_and_then_refuses() -> None:
    memory = PrivateMemory()
    memory.generations = {0: 1, 1: 2}
    z = zone(memory, 4096)
    for number in range(z.table.capacity):
        memory.slot = number % 2
        assert z.take(b"%d" % number, 1)
    memory.slot = 0
    assert z.take(b"new", 1) is None
    memory.dying = {1}
    for number in range(z.table.capacity // 2):
        assert z.take(b"new %d" % number, 1)
    assert z.take(b"newest", 1) is None


def test_a_child_gives_nothing_back_for_its_parent() -> None:
    memory = PrivateMemory()
    memory.generations = {0: 1, 1: 2}
    z = zone(memory)
    held = z.take(b"a", 1)
    assert held
    memory.slot = 1
    held.close()
    assert z.take(b"a", 1) is None


def step(dry_run: bool = False) -> ConnectionCheck:
    settings = GuardSettings(
        limit_conn=(LimitConn("addr", 2), LimitConn("server", 3)), limit_conn_status=429, limit_conn_dry_run=dry_run
    )
    return ConnectionCheck(settings, {"addr": zone(name="addr"), "server": zone(name="server", key="s")})


def test_leases_are_on_the_exchange(caplog: pytest.LogCaptureFixture) -> None:
    check = step()

    def send(target: str) -> Exchange:
        x = exchange(target=target)
        check(x)
        return x

    first, second = send("/?k=a&s=x"), send("/?k=a&s=x")
    assert first.limit_conn_status == "PASSED" and first.leases is not None and len(first.leases) == 2
    with caplog.at_level(logging.ERROR, "wsgi_proxy"), pytest.raises(Refusal) as refusal:
        send("/?k=a&s=x")
    assert refusal.value.status == 429
    assert caplog.records[0].getMessage().startswith('limiting connections by zone "addr", client: 192.0.2.1')
    send("/?k=b&s=x")
    with pytest.raises(Refusal):
        send("/?k=b&s=x")
    # The refused request's place in `addr` was given back.
    assert send("/?k=b&s=y").leases
    assert send("/").leases is None
    for x in (first, second):
        for lease in x.leases or ():
            lease.close()
    send("/?k=a&s=x")


def test_dry_run(caplog: pytest.LogCaptureFixture) -> None:
    check = step(dry_run=True)
    statuses = []
    with caplog.at_level(logging.ERROR, "wsgi_proxy"):
        for _ in range(3):
            x = exchange(target="/?k=a")
            check(x)
            statuses.append(x.limit_conn_status)
    assert statuses == ["PASSED", "PASSED", "REJECTED_DRY_RUN"]
    assert caplog.records[0].getMessage().startswith('limiting connections, dry run, by zone "addr"')


# --- several processes over the real shared memory --------------------------------------------------------------------------

fork = get_context("fork")


@contextmanager
def workers(count: int, work: Any, *args: Any) -> Iterator[list[Any]]:
    """Processes running `work(pipe, *args)`; the block gets (process, our end of its pipe) for each."""
    made = []
    try:
        for _ in range(count):
            ours, theirs = fork.Pipe()
            process = fork.Process(target=work, args=(theirs, *args), daemon=True)
            process.start()
            theirs.close()
            made.append((process, ours))
        yield made
    finally:
        for process, pipe in made:
            pipe.close()
            process.join(30)
            if process.is_alive():
                process.kill()
                process.join(30)


def take_and_hold(pipe: Any, shared: SharedMemory, wanted: int) -> None:
    """Try to take `wanted` of 10, report how many; hold them until told to give them back or killed."""
    z = zone(shared)
    held = [found for found in (z.take(b"key", 10) for _ in range(wanted)) if found]
    pipe.send(len(held))
    try:
        pipe.recv()
    except EOFError:
        return
    for one in held:
        one.close()
    pipe.send("done")


def receive(pipe: Any) -> Any:
    assert pipe.poll(10)
    return pipe.recv()


def test_workers_share_and_a_killed_one_counts_no_more() -> None:
    shared = SharedMemory.open(uuid.uuid4().hex)
    z = zone(shared)
    with workers(4, take_and_hold, shared, 4) as made:
        taken = [receive(pipe) for _, pipe in made]
        assert sum(taken) == 10
        assert z.take(b"key", 10) is None
        killed = max(range(4), key=lambda number: taken[number])
        process = made[killed][0]
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        mine = [z.take(b"key", 10) for _ in range(10)]
        assert sum(1 for one in mine if one) == taken[killed]
        for number, (_, pipe) in enumerate(made):
            if number != killed:
                pipe.send("give back")
                assert receive(pipe) == "done"
        assert sum(1 for _ in range(10) if z.take(b"key", 10)) == 10 - taken[killed]


def count_requests(pipe: Any, shared: SharedMemory, wanted: int) -> None:
    limit = Rate(RateZone(LimitReqZone("rate", argument("k"), 32 * 1024, 1), shared), 1000, None)
    verdicts = [judge([limit], [b"key"], 0) for _ in range(wanted)]
    pipe.send(sum(1 for verdict in verdicts if verdict and verdict.wait is not None))


def test_limit_req_is_exact_among_workers() -> None:
    shared = SharedMemory.open(uuid.uuid4().hex)
    with workers(4, count_requests, shared, 500) as made:
        assert sum(receive(pipe) for _, pipe in made) == 1001
