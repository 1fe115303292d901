"""The pool: leases, failover, quarantine, backups, and the counts of several workers. No socket is opened."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.pools import Clock, Request
from wsgi_proxy.balance.peers import Peer
from wsgi_proxy.config import Policy, Server, Sticky
from wsgi_proxy.errors import ConfigError, NoLiveUpstreams
from wsgi_proxy.upstream.pool import Lease, Pool
from wsgi_proxy.upstream.pool_state import Runtime


def servers(*options: dict[str, Any]) -> list[Server]:
    return [Server(f"127.0.0.1:{19001 + number}", **option) for number, option in enumerate(options)]


def number(peer: Peer) -> int:
    assert isinstance(peer.address, tuple)
    return peer.address[1] - 19000


def choose(pool: Pool, count: int, hold: bool = False) -> str:
    """The servers of so many requests, each settled at once unless held."""
    chosen = []
    for _ in range(count):
        lease = pool.lease(Request())
        chosen.append(str(number(lease.peer)))
        if not hold:
            lease.settle()
    return "".join(chosen)


def test_weighted_round_robin_goes_as_documented() -> None:
    assert choose(Pool(servers({"weight": 5}, {}, {}), "round_robin"), 14) == "11213111121311"
    assert choose(Pool(servers({"weight": 10}, {"weight": 5}, {}), "round_robin"), 16) == "1211213121121121"


def test_least_conn_counts_what_is_held() -> None:
    pool = Pool(servers({"weight": 3}, {}, {"weight": 2}))
    assert choose(pool, 12, hold=True) == "132131231131"


def test_a_failed_peer_is_not_tried_again_in_the_same_request() -> None:
    pool = Pool(servers({}, {}, {}), "round_robin")
    request = Request()
    seen = []
    for _ in range(pool.tries_limit):
        lease = pool.lease(request)
        seen.append(number(lease.peer))
        lease.settle(failed=True)
    assert seen == [1, 2, 3]
    with pytest.raises(NoLiveUpstreams):
        pool.lease(request)


def test_quarantine_after_max_fails_and_one_probe_per_fail_timeout() -> None:
    """max_fails=3 fail_timeout=3: the servers tried by a request every 0.2 s."""
    clock = Clock()
    pool = Pool(servers({"max_fails": 3, "fail_timeout": 3.0}, {}), "round_robin", runtime=Runtime(clock=clock))
    tries = []
    for tenth in range(1, 100, 2):
        clock.now = 1_000_000 + tenth / 10
        request = Request()
        while True:
            lease = pool.lease(request)
            failed = number(lease.peer) == 1
            lease.settle(failed=failed)
            if not failed:
                break
            tries.append(tenth / 10)
    # Open again in the second after fail_timeout, and then it is the other's turn first.
    assert tries[3:] == [4.3, 8.3]
    assert len(tries[:3]) == 3 and tries[2] < 1.5


def test_a_server_that_came_back_is_used_again() -> None:
    clock = Clock()
    pool = Pool(servers({"fail_timeout": 10.0}, {}), "round_robin", runtime=Runtime(clock=clock))
    pool.lease(Request()).settle(failed=True)
    assert choose(pool, 3) == "222"
    clock.now += 11
    # The failure took its whole weight, which it regains by one per round.
    assert choose(pool, 2) == "22"
    probe = pool.lease(Request())
    assert number(probe.peer) == 1
    # While the probe is on its way the others stay away.
    assert choose(pool, 3) == "222"
    probe.settle()
    assert sorted(choose(pool, 4)) == ["1", "1", "2", "2"]


def test_a_single_server_is_never_quarantined() -> None:
    pool = Pool(servers({}))
    for _ in range(5):
        pool.lease(Request()).settle(failed=True)
    assert choose(pool, 1) == "1"


def test_one_live_and_one_down_is_not_single() -> None:
    pool = Pool(servers({}, {"down": True}))
    assert pool.tries_limit == 1
    pool.lease(Request()).settle(failed=True)
    with pytest.raises(NoLiveUpstreams, match="no live upstreams"):
        pool.lease(Request())


def test_backups_serve_when_no_server_can() -> None:
    clock = Clock()
    pool = Pool(servers({}, {}, {"backup": True}, {"backup": True}), "round_robin", runtime=Runtime(clock=clock))
    assert choose(pool, 4) == "1212"
    request = Request()
    seen = []
    for _ in range(4):
        lease = pool.lease(request)
        seen.append(number(lease.peer))
        lease.settle(failed=len(seen) < 4)
    assert seen == [1, 2, 3, 4]
    assert choose(pool, 3) == "444"
    with pytest.raises(NoLiveUpstreams):
        pool.lease(request)
    clock.now += 11
    assert "1" in choose(pool, 3)


def test_max_conns_is_kept() -> None:
    pool = Pool(servers({"max_conns": 2}, {"max_conns": 1}), "round_robin")
    held: list[Lease] = [pool.lease(Request()) for _ in range(3)]
    assert sorted(number(lease.peer) for lease in held) == [1, 1, 2]
    with pytest.raises(NoLiveUpstreams):
        pool.lease(Request())
    held[0].settle()
    assert number(pool.lease(Request()).peer) == number(held[0].peer)


def test_settling_twice_counts_once() -> None:
    pool = Pool(servers({}, {}))
    lease = pool.lease(Request())
    lease.settle()
    lease.settle(failed=True)
    assert pool.counts.totals == [0, 0]
    assert pool.health.failures() == [0, 0]


def test_a_failure_costs_weight_until_it_is_regained() -> None:
    pool = Pool(servers({"weight": 10, "max_fails": 3}, {"weight": 10}), "round_robin")
    lease = pool.lease(Request())
    assert number(lease.peer) == 1
    lease.settle(failed=True)
    choose(pool, 1)
    assert pool.peers[0].effective == 10 - 3 + 1


def test_ip_hash_golden_vectors() -> None:
    pool = Pool(servers({}, {"weight": 2}, {}, {"down": True}, {}, {}), "ip_hash")
    expected = {"203.0.113.9": 2, "203.0.113.200": 2, "198.51.100.7": 5, "10.0.0.1": 3, "2001:db8::1": 3}
    assert {address: number(pool.lease(Request(address)).peer) for address in expected} == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), {"alice": 5, "bob": 2, "carol": 5, "/index.html": 1}),
     (("consistent",), {"alice": 4, "bob": 4, "carol": 1, "/index.html": 4})],
)  # fmt: skip
def test_hash_golden_vectors(options: tuple[str, ...], expected: dict[str, int]) -> None:
    weights = servers({"weight": 3}, {}, {"down": True}, {}, {}, {})
    for key, server in expected.items():

        def fixed(x: object, key: str = key) -> str:
            return key

        pool = Pool(weights, Policy("hash", key=fixed, options=options))
        assert number(pool.lease(Request()).peer) == server


def test_the_reply_time_decides_under_least_time() -> None:
    pool = Pool(servers({}, {}, {}), Policy("least_time", options=("header",)))
    chosen: list[int] = []
    for _ in range(150):
        lease = pool.lease(Request())
        chosen.append(number(lease.peer))
        lease.settle(False, 0.150 if number(lease.peer) == 2 else 0.001, 0.2)
    assert chosen.count(2) == 1


def test_a_function_can_be_the_policy() -> None:
    def last(candidates: list[Server], exchange: Any) -> Server:
        return candidates[-1]

    pool = Pool(["http://127.0.0.1:19001", "http://127.0.0.1:19002"], last)
    assert choose(pool, 2) == "22"
    request = Request()
    pool.lease(request).settle(failed=True)
    assert number(pool.lease(request).peer) == 1


def test_sticky_wins_over_the_method_and_drain_keeps_sessions() -> None:
    pool = Pool(servers({}, {"drain": True}, {}), "round_robin", sticky=Sticky("route", path="/", flags=("httponly",)))
    draining = next(peer for peer in pool.peers if peer.server.drain)
    assert choose(pool, 4) == "1313"
    assert pool.sticky_cookie(draining, None) == f"route={draining.sid}; httponly; path=/"
    for _ in range(3):
        assert pool.lease(Request(cookie=f"a=b; route={draining.sid}")).peer is draining


def test_an_unknown_name_is_a_fault_with_its_place() -> None:
    with pytest.raises(ConfigError, match='host not found in upstream "nosuch.invalid:80"'):
        Pool(["nosuch.invalid:80"])


def test_parameters_are_refused_with_the_methods_that_ignore_them() -> None:
    for method in ("ip_hash", "random", Policy("hash", key=lambda x: "k")):
        with pytest.raises(ConfigError, match='does not support parameter "backup"'):
            Pool(servers({}, {"backup": True}), method)
        with pytest.raises(ConfigError, match='does not support parameter "slow_start"'):
            Pool(servers({}, {"slow_start": 5.0}), method)


def test_slow_start_brings_a_recovered_server_in_slowly() -> None:
    clock = Clock()
    pool = Pool(servers({"weight": 4, "slow_start": 10.0}, {"weight": 4}), "round_robin", runtime=Runtime(clock=clock))
    pool.lease(Request()).settle(failed=True)
    clock.now += 11
    request = Request()
    lease = next(lease for lease in iter(lambda: pool.lease(Request()), None) if number(lease.peer) == 1)
    lease.settle()
    assert request.tried is None
    shares = []
    for _ in range(11):
        shares.append(choose(pool, 40).count("1"))
        clock.now += 1
    assert shares[0] < 8 and shares[-1] == 20
    assert all(later >= earlier - 2 for earlier, later in itertools.pairwise(shares))


def four_workers(work: Callable[[], None]) -> None:
    pids = []
    for _ in range(4):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4


def test_four_workers_together_fail_max_fails_times() -> None:
    """Without a zone nginx would count in each worker: twelve failed tries instead of three."""
    pool = Pool(servers({}, {"max_fails": 3, "fail_timeout": 30.0}, {}, {}, {}, {}))
    failures = pool.memory.area("failures", 8).cast("q")
    turn = pool.memory.lock("turn")

    def work() -> None:
        for _ in range(150):
            with turn:  # one request at a time, of any client
                request = Request()
                lease = pool.lease(request)
                while number(lease.peer) == 2:
                    failures[0] += 1
                    lease.settle(failed=True)
                    lease = pool.lease(request)
                lease.settle()

    four_workers(work)
    assert failures[0] == 3


def test_one_probe_among_four_workers() -> None:
    """Quarantine is over for all at once; the first to pick closes it for the others."""
    clock = Clock()
    pool = Pool(servers({}, {"fail_timeout": 5.0, "weight": 100}), "round_robin", runtime=Runtime(clock=clock))
    for _ in range(2):
        lease = pool.lease(Request())
        lease.settle(failed=number(lease.peer) == 2)
    probes = pool.memory.area("probes", 8).cast("q")
    lock = pool.memory.lock("probes")
    clock.now += 6

    def work() -> None:
        for _ in range(300):
            lease = pool.lease(Request())
            if number(lease.peer) == 2:
                with lock:
                    probes[0] += 1  # and never settles
            else:
                lease.settle()

    four_workers(work)
    assert probes[0] == 1


def test_what_a_killed_worker_held_is_free_at_once() -> None:
    """Not only when the next second's look for dead workers comes."""
    pool = Pool(servers({"max_conns": 2}, {"max_conns": 1}), runtime=Runtime(clock=Clock()))
    pool.lease(Request()).settle()
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        for _ in range(3):
            pool.lease(Request())
        os.write(done, b"x")
        signal.pause()
    os.read(ready, 1)
    with pytest.raises(NoLiveUpstreams):
        pool.lease(Request())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert sorted(number(pool.lease(Request()).peer) for _ in range(3)) == [1, 1, 2]
    os.close(ready)
    os.close(done)


@pytest.mark.parametrize("policy", ["least_conn", "round_robin", "ip_hash", "random"])
def test_threads_leave_no_count_behind(policy: str) -> None:
    """As under gunicorn's gthread: a switch between threads may come anywhere."""
    pool = Pool(servers(*[{"weight": 1 + n % 3, "fail_timeout": 1000.0, "max_fails": 0} for n in range(20)]), policy)

    def work(seed: int) -> None:
        for count in range(300):
            request = Request(f"10.0.{seed}.{count % 200}")
            lease = pool.lease(request)
            lease.settle(failed=count % 5 == 0)
            if count % 5 == 0:
                pool.lease(request).settle()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert pool.counts.totals == [0] * 20
    assert sum(pool.health.failures()) == 8 * 60


def test_max_conns_holds_among_workers_that_come_at_once() -> None:
    """A slow policy gives them time to see the same last place; there are never more than the limit, and none in the end."""

    def slowly(candidates: list[Server], exchange: Any) -> Server:
        time.sleep(0.0005)
        return candidates[0]

    pool = Pool(servers({"max_conns": 2}, {"max_conns": 1}), slowly)
    most = pool.memory.area("most", 16).cast("q")

    def work() -> None:
        for _ in range(60):
            try:
                lease = pool.lease(Request())
            except NoLiveUpstreams:
                continue
            with pool._guard:
                pool.counts.sync()
                for index, total in enumerate(pool.counts.totals):
                    most[index] = max(most[index], total)
            time.sleep(0.004)
            lease.settle()

    four_workers(work)
    assert list(most) == [2, 1]
    pool.memory.reap()
    pool.counts.sync()
    assert pool.counts.totals == [0, 0]
