"""The contract of every policy in the table, and what is particular to each. The hashes have test_balance_hash.py."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wsgi_proxy.balance.health import HEADER_MS, Health, size
from wsgi_proxy.balance.peers import Peer, PeerGroup
from wsgi_proxy.balance.policies import POLICIES, LeastConn, Random, balancer
from wsgi_proxy.balance.ranking import Ranked
from wsgi_proxy.config import Policy, Server


class Request:
    def __init__(self, number: int = 0) -> None:
        self.remote_addr = ".".join(str(part) for part in random.Random(number).choices(range(1, 255), k=4))
        self.number = number
        self.tried: set[Any] | None = None


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def group(weights: list[int], clock: Clock | None = None, **options: Any) -> PeerGroup:
    servers = [Server(f"10.0.0.{number}:80", weight=weight, **options) for number, weight in enumerate(weights)]
    peers = [Peer(server, (f"10.0.0.{n}", 80), server.address, "s", index=n) for n, server in enumerate(servers)]
    health = Health([0] * (size(len(peers)) // 8), servers)
    return PeerGroup(peers, [0] * len(peers), health, random.Random(5), clock or Clock())


def policies() -> list[Policy]:
    """Every line of the table, with its options."""
    variants = [Policy(name, key=lambda x: str(x.number)) for name in POLICIES]  # type: ignore[attr-defined]
    variants.append(Policy("hash", key=lambda x: str(x.number), options=("consistent",)))  # type: ignore[attr-defined]
    variants += [Policy("random", options=("two",)), Policy("random", options=("two", "least_time=last_byte"))]
    variants += [Policy("least_time", options=("last_byte",)), Policy("least_time", options=("header", "inflight"))]
    return variants


@pytest.fixture(params=policies(), ids=lambda policy: "_".join([policy.name, *policy.options]))
def policy(request: pytest.FixtureRequest) -> Policy:
    found: Policy = request.param
    return found


@pytest.mark.parametrize("count", [6, 40])
class TestContract:
    def make(self, policy: Policy, count: int, weights: tuple[int, ...] = (1, 2, 3)) -> tuple[PeerGroup, Any]:
        g = group([weights[number % len(weights)] for number in range(count)])
        made = balancer(policy, g)
        self.fresh(made, g)
        return g, made

    def fresh(self, made: Any, g: PeerGroup) -> None:
        """What the pool does when it knows that something changed."""
        g.ready = [peer for peer in g.peers if peer.ready]
        if isinstance(made, Ranked):
            made.update(g.peers, 100)

    def test_it_gives_a_peer_of_the_group(self, policy: Policy, count: int) -> None:
        g, made = self.make(policy, count)
        assert all(made.pick(Request(number), None, 100) in g.peers for number in range(50))

    def test_everyone_gets_some(self, policy: Policy, count: int) -> None:
        # Of equal weight: with nothing open and nothing measured, least_time goes to the heaviest only.
        g, made = self.make(policy, count, (2,))
        assert {made.pick(Request(number), None, 100) for number in range(60 * count)} == set(g.peers)

    def test_it_never_gives_one_that_was_tried(self, policy: Policy, count: int) -> None:
        g, made = self.make(policy, count)
        request = Request(3)
        tried: set[Peer] = set()
        for _ in range(count):
            request.tried = set(tried) or request.tried
            peer = made.pick(request, tried or None, 100)
            assert peer is not None and peer not in tried
            tried.add(peer)
        assert made.pick(request, tried, 100) is None

    def test_it_never_gives_one_that_is_not_ready(self, policy: Policy, count: int) -> None:
        g, made = self.make(policy, count)
        for peer in g.peers[::2]:
            peer.ready = False
        self.fresh(made, g)
        assert {made.pick(Request(number), None, 100) for number in range(200)} <= set(g.peers[1::2])

    def test_it_gives_the_only_one_left(self, policy: Policy, count: int) -> None:
        g, made = self.make(policy, count)
        for peer in g.peers[1:]:
            peer.ready = False
        self.fresh(made, g)
        assert [made.pick(Request(number), None, 100) for number in range(5)] == [g.peers[0]] * 5

    def test_it_gives_nothing_when_nobody_is_left(self, policy: Policy, count: int) -> None:
        g, made = self.make(policy, count)
        for peer in g.peers:
            peer.ready = False
        self.fresh(made, g)
        assert made.pick(Request(), None, 100) is None


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


def test_least_conn_goes_by_connections_per_weight() -> None:
    g = group([4, 1])
    g.conns[:] = [3, 1]
    assert LeastConn(g, Policy()).pick(Request(), None, 0) is g.peers[0]
    g.conns[:] = [5, 1]
    assert LeastConn(g, Policy()).pick(Request(), None, 0) is g.peers[1]


def last(servers: list[Server], exchange: Any) -> Server | None:
    return servers[-1]


class Nobody:
    def pick(self, servers: list[Server], exchange: Any) -> Server | None:
        return None


def test_a_function_an_object_a_class_or_a_reference_can_be_a_policy() -> None:
    g = group([1, 1, 1])
    assert balancer(last, g).pick(Request(), None, 0) is g.peers[2]
    assert balancer(last, g).pick(Request(), {g.peers[2]}, 0) is g.peers[1]
    assert balancer(Nobody(), g).pick(Request(), None, 0) is None
    assert balancer(Policy(f"{__name__}:last"), g).pick(Request(), None, 0) is g.peers[2]
    assert balancer(Policy(f"{__name__}:Nobody"), g).pick(Request(), None, 0) is None


def test_a_function_that_returns_something_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="not one of the servers"):
        balancer(lambda servers, exchange: Server("elsewhere"), group([1, 1])).pick(Request(), None, 0)


class Unmade(Nobody):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


def test_an_unknown_method_or_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match='unknown balancing method "fastest"'):
        balancer("fastest", group([1]))
    for reference in ("no_such_module:x", f"{__name__}:Unmade"):
        with pytest.raises(ValueError, match="cannot load"):
            balancer(Policy(reference), group([1]))
