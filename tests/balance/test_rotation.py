"""Smooth weighted round robin: the documented sequences, and the Rotation against the plain walk."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_proxy.balance.peers import Peer
from wsgi_proxy.balance.rotation import Rotation, round_robin
from wsgi_proxy.config import Server


def peers(weights: list[int]) -> list[Peer]:
    return [Peer(Server("x", weight=weight), ("127.0.0.1", 1), "x", "x", index=n) for n, weight in enumerate(weights)]


def test_the_sequences_of_the_documentation() -> None:
    for weights, expected in (([5, 1, 1], "1121311"), ([10, 5, 1], "1211213121121121"), ([1, 1, 1], "123123")):
        walked = peers(weights)
        sequence = []
        for _ in expected:
            chosen = round_robin(walked)
            assert chosen is not None
            sequence.append(str(chosen.index + 1))
        assert "".join(sequence) == expected


def test_nobody_to_choose_from() -> None:
    assert round_robin([]) is None


def test_lost_weight_comes_back_by_one_per_round() -> None:
    walked = peers([4, 4])
    walked[0].effective = 1
    effective = []
    for _ in range(5):
        round_robin(walked)
        effective.append(walked[0].effective)
    assert effective == [2, 3, 4, 4, 4]


step = st.one_of(
    st.just(("turn", 0, 0)),
    st.just(("turn", 0, 0)),
    st.tuples(st.just("leave"), st.integers(0, 7), st.just(0)),
    st.tuples(st.just("join"), st.integers(0, 7), st.just(0)),
    st.tuples(st.just("weaken"), st.integers(0, 7), st.integers(1, 4)),
)


@settings(max_examples=200, deadline=None)
@given(weights=st.lists(st.integers(1, 6), min_size=2, max_size=8), steps=st.lists(step, max_size=200))
def test_a_rotation_takes_the_walks_turns(weights: list[int], steps: list[tuple[str, int, int]]) -> None:
    walked, turned = peers(weights), peers(weights)
    rotation = Rotation(turned)
    members = set(range(len(weights)))
    for peer in turned:
        rotation.join(peer)
    for kind, number, amount in steps:
        index = number % len(weights)
        if kind == "turn":
            expected = round_robin([walked[member] for member in sorted(members)])
            if expected is None:
                assert rotation.count == 0
            else:
                assert rotation.turn().index == expected.index
        elif kind == "leave" and index in members:
            members.remove(index)
            rotation.leave(turned[index])
            assert turned[index].current == walked[index].current
        elif kind == "join" and index not in members:
            members.add(index)
            rotation.join(turned[index])
        elif kind == "weaken":
            for side in (walked, turned):
                side[index].effective = max(0, side[index].effective - amount)
            if index in members:
                rotation.leave(turned[index])
                rotation.join(turned[index])
    if len(members) == 1:
        assert rotation.only().index == members.pop()
