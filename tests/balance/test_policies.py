"""The contract of every policy in the table, and the particulars of each. test_hashing.py tests the hashes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.balance.groups import Request, group
from wsgi_proxy.balance.peers import Peer, PeerGroup
from wsgi_proxy.balance.policies import POLICIES, balancer, conflicts
from wsgi_proxy.balance.ranking import Ranked
from wsgi_proxy.config import Policy, Server


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
        """Update the policy as the pool does after a change."""
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


def test_conflicts_name_every_parameter_that_a_method_does_not_support() -> None:
    servers = [Server("a", backup=True, slow_start=3), Server("b"), Server("c", slow_start=1)]
    message = 'balancing method does not support parameter "{}"'.format
    wanted = [(message("backup"), servers[0]), (message("slow_start"), servers[0]), (message("slow_start"), servers[2])]
    for policy in ("ip_hash", Policy("random"), Policy("hash", key=str)):
        assert conflicts(policy, servers) == wanted
    for policy in ("round_robin", "least_conn", Policy("least_time"), last, Policy(f"{__name__}:last"), Nobody()):
        assert conflicts(policy, servers) == []


class Unmade:
    def __init__(self) -> None:
        raise RuntimeError("no licence")


def test_an_unknown_method_or_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match='unknown balancing method "fastest"'):
        balancer("fastest", group([1]))
    for reference in ("no_such_module:x", f"{__name__}:Unmade"):
        with pytest.raises(ValueError, match="cannot load"):
            balancer(Policy(reference), group([1]))
