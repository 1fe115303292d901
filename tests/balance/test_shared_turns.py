"""Round robin shared by all workers gives the sequence of one worker."""

from __future__ import annotations

import os

import pytest

from tests.support.pools import Clock, Request
from wsgi_proxy.config import Policy, Server, Upstream
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.upstream.pool import Pool
from wsgi_proxy.upstream.pool_state import Runtime

SERVERS = (Server("127.0.0.1:1", weight=5), Server("127.0.0.1:2"), Server("127.0.0.1:3", weight=2, max_fails=2))


def choose(pool: Pool, fail: int = -1) -> int:
    lease = pool.lease(Request())
    lease.settle(failed=lease.peer.index == fail)
    return lease.peer.index


@pytest.mark.parametrize("method", ["round_robin", "least_conn"])
def test_one_worker_sees_no_difference(method: str) -> None:
    clock = Clock()
    shared = Pool(SERVERS, method, shared_turns=True, runtime=Runtime(PrivateMemory(), clock=clock))
    own = Pool(SERVERS, method, runtime=Runtime(PrivateMemory(), clock=clock))
    for number in range(200):
        fail = 2 if number in (10, 60, 61) else -1
        clock.now += 0.5
        assert choose(shared, fail) == choose(own, fail), number


def test_workers_in_turn_take_the_sequence_of_one() -> None:
    """Three processes; a token goes round, so that the order of the choices is known."""
    pool = Pool.from_config(Upstream("u", SERVERS, Policy("round_robin"), zone="u 64k"))
    alone = Pool(SERVERS, "round_robin", runtime=Runtime(PrivateMemory()))
    chosen = pool.memory.area("chosen", 300)
    pipes = [os.pipe() for _ in range(3)]
    pids = []
    for worker in range(3):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                for number in range(worker, 300, 3):
                    assert os.read(pipes[worker][0], 1)
                    chosen[number] = choose(pool)
                    os.write(pipes[(worker + 1) % 3][1], b"x")
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.write(pipes[0][1], b"x")
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    for ends in pipes:
        os.close(ends[0])
        os.close(ends[1])
    assert list(chosen) == [choose(alone) for _ in range(300)]


def test_a_failure_is_taken_off_once_for_all() -> None:
    servers = [Server("127.0.0.1:1", weight=10, max_fails=3), Server("127.0.0.1:2", weight=10)]
    pool = Pool(servers, "round_robin", shared_turns=True)
    pool.lease(Request()).settle(failed=True)
    results = pool.memory.area("results", 8 * 2).cast("q")
    for worker in range(2):
        pid = os.fork()
        if not pid:
            pool.lease(Request())
            results[worker] = int(pool.peers[0].effective)
            os._exit(0)
        os.waitpid(pid, 0)
    # Three lost, one regained at each choice.
    assert list(results) == [8, 9]


def test_slow_start_is_shared_too() -> None:
    clock = Clock()
    servers = [Server("127.0.0.1:1", weight=4, slow_start=10.0, fail_timeout=1.0), Server("127.0.0.1:2", weight=4)]
    pools = [
        Pool(servers, "round_robin", shared_turns=shared, runtime=Runtime(PrivateMemory(), clock=clock))
        for shared in (False, True)
    ]
    shares: list[list[int]] = []
    for pool in pools:
        clock.now = 1000.0
        choose(pool, fail=0)
        share = []
        for _ in range(15):
            clock.now += 1
            share.append([choose(pool) for _ in range(20)].count(0))
        shares.append(share)
    # The second in which a weight grows may differ by one turn.
    assert all(abs(own - ours) <= 1 for own, ours in zip(*shares, strict=True))
    assert shares[1][2] < 4 and shares[1][-1] == 10
