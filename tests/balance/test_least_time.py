"""least_time: the estimate, and the weight of unfinished requests."""

from __future__ import annotations

import random
from typing import Any

from tests.support.pools import Clock, Request
from wsgi_proxy.balance.health import HEADER_MS, Health, size
from wsgi_proxy.balance.least_time import Inflight, LeastTime
from wsgi_proxy.balance.peers import Peer, PeerGroup
from wsgi_proxy.config import Policy, Server
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.upstream.pool import Pool
from wsgi_proxy.upstream.pool_state import Runtime


def group(count: int, clock: Clock | None = None, **options: Any) -> PeerGroup:
    servers = [Server(f"10.0.0.{number}:80", **options) for number in range(count)]
    peers = [Peer(server, (f"10.0.0.{n}", 80), server.address, "s", index=n) for n, server in enumerate(servers)]
    health = Health([0] * (size(count) // 8), servers)
    return PeerGroup(peers, [0] * count, health, random.Random(5), clock or Clock())


def test_the_estimate_of_least_time() -> None:
    """Steps of 20 ms, 5 s at most, times the requests waited for; halved per fail_timeout without a look."""
    g = group(2, fail_timeout=10.0)
    made = LeastTime(g, Policy("least_time", options=("header",)))
    peer, now = g.peers[0], 100
    g.health.picked(0, now)
    for milliseconds, expected in ((0, 20), (19, 20), (20, 40), (150, 160), (5000, 5020), (5001, 5000), (90_000, 5000)):
        g.health.words[8 + HEADER_MS * 2] = milliseconds
        assert made.estimate(peer, now) == expected
    g.health.words[8 + HEADER_MS * 2] = 1000
    g.conns[0] = 2
    assert made.estimate(peer, now) == 1020 * 3
    g.conns[0] = 0
    assert made.estimate(peer, now + 10) == 1020
    assert made.estimate(peer, now + 11) == 520
    assert made.estimate(peer, now + 22) == 260
    assert made.estimate(peer, now + 100_000) == 20


def test_unfinished_requests_tell_that_a_peer_hangs() -> None:
    clock = Clock()
    g = group(3, clock)
    inflight = Inflight(3, g)
    peer = g.peers[1]
    first = inflight.begin(peer)
    clock.now += 2
    inflight.observe(g.peers)
    assert inflight.average(peer) == 2000
    second = inflight.begin(peer)
    clock.now += 1
    inflight.observe(g.peers)
    assert inflight.average(peer) == int(0.5 + 0.05 * 2000 + 0.95 * 2000)
    inflight.end(peer, first)
    clock.now += 1
    inflight.observe([peer])
    # The other one has waited two seconds: 2000 again into an average of 2000.
    assert inflight.average(peer) == 2000
    inflight.end(peer, second)
    assert inflight.average(peer) == 0
    assert inflight.average(g.peers[0]) == 0


def test_a_server_that_hangs_is_avoided_before_it_has_answered() -> None:
    """With `inflight` the wait itself counts; without, nothing is known of the hanging server but its open connection."""
    chosen: dict[bool, list[bool]] = {}
    for inflight in (True, False):
        clock = Clock()
        options = ("header", "inflight") if inflight else ("header",)
        servers = [Server("127.0.0.1:1"), Server("127.0.0.1:2"), Server("127.0.0.1:3", down=True)]
        pool = Pool(servers, Policy("least_time", options=options), runtime=Runtime(PrivateMemory(), clock=clock))
        for _ in range(2):
            pool.lease(Request()).settle(False, 0.03, 0.03)
        hanging = pool.lease(Request())
        clock.now += 3
        chosen[inflight] = []
        others = []
        for _ in range(4):
            others.append(pool.lease(Request()))
            chosen[inflight].append(others[-1].peer is hanging.peer)
        for lease in [hanging, *others]:
            lease.settle(False, 0.03, 0.03)
        assert pool.counts.totals == [0, 0, 0]
    assert not any(chosen[True])
    assert any(chosen[False])
