"""The hashing policies: golden vectors from nginx; a failure moves only the failed server's keys."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from wsgi_proxy.balance.hashing import ConsistentHash, Hash, IPHash, Walk
from wsgi_proxy.balance.health import Health, size
from wsgi_proxy.balance.peers import Peer, PeerGroup
from wsgi_proxy.config import Policy, Server


class Request:
    def __init__(self, remote_addr: str = "127.0.0.1", key: str = "") -> None:
        self.remote_addr = remote_addr
        self.key = key
        self.tried: set[Any] | None = None


def group(weights: Sequence[int], down: Sequence[int] = ()) -> PeerGroup:
    """Servers 127.0.0.1:19001 and so on; `down` are places counted from 1."""
    servers = [Server(f"127.0.0.1:{19001 + number}", weight=weight) for number, weight in enumerate(weights)]
    peers = [Peer(server, ("127.0.0.1", 19001 + n), server.address, "127.0.0.1", index=n) for n, server in enumerate(servers)]
    for place in down:
        peers[place - 1].ready = False
    return PeerGroup(peers, [0] * len(peers), Health([0] * (size(len(peers)) // 8), servers), random.Random(1), lambda: 0.0)


def place(peer: Peer | None) -> int:
    assert peer is not None
    return peer.index + 1


def by_key(*options: str) -> Policy:
    return Policy("hash", key=lambda x: x.key, options=options)  # type: ignore[attr-defined]


def test_ip_hash_as_nginx() -> None:
    policy = IPHash(group([1, 2, 1, 1, 1, 1], down=[4]), Policy("ip_hash"))
    for address, expected in {
        "203.0.113.9": 2, "203.0.113.200": 2, "198.51.100.7": 5, "10.0.0.1": 3, "2001:db8::1": 3,
    }.items():  # fmt: skip
        assert place(policy.pick(Request(address), None, 0)) == expected


def test_ip_hash_takes_the_first_three_bytes_and_anything_else_as_zeros() -> None:
    policy = IPHash(group([1] * 6), Policy("ip_hash"))
    assert len({place(policy.pick(Request(f"192.0.2.{last}"), None, 0)) for last in range(256)}) == 1
    assert place(policy.pick(Request("unix:"), None, 0)) == place(policy.pick(Request("0.0.0.0"), None, 0))
    assert len({place(policy.pick(Request(f"192.0.{third}.1"), None, 0)) for third in range(50)}) == 6


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [(Hash, (), {"alice": 5, "bob": 2, "carol": 5, "/index.html": 1}),
     (ConsistentHash, ("consistent",), {"alice": 4, "bob": 4, "carol": 1, "/index.html": 4})],
)  # fmt: skip
def test_hash_as_nginx(make: type[Hash] | type[ConsistentHash], options: tuple[str, ...], expected: dict[str, int]) -> None:
    policy = make(group([3, 1, 1, 1, 1, 1], down=[3]), by_key(*options))
    assert {key: place(policy.pick(Request(key=key), None, 0)) for key in expected} == expected


@pytest.mark.parametrize("make", [Hash, ConsistentHash])
def test_a_lost_server_moves_only_its_own_keys(make: type[Hash] | type[ConsistentHash]) -> None:
    g = group([1] * 6)
    policy = make(g, by_key())
    keys = [f"key {number}" for number in range(500)]
    before = {key: place(policy.pick(Request(key=key), None, 0)) for key in keys}
    g.peers[2].ready = False
    after = {key: place(policy.pick(Request(key=key), None, 0)) for key in keys}
    assert all(after[key] == before[key] for key in keys if before[key] != 3)
    assert 3 not in after.values() and 3 in before.values()


def test_an_added_server_takes_only_its_share_of_a_consistent_hash() -> None:
    keys = [f"key {number}" for number in range(2000)]
    five, six = (ConsistentHash(group([1] * count), by_key("consistent")) for count in (5, 6))
    before = {key: place(five.pick(Request(key=key), None, 0)) for key in keys}
    after = {key: place(six.pick(Request(key=key), None, 0)) for key in keys}
    moved = [key for key in keys if before[key] != after[key]]
    assert all(after[key] == 6 for key in moved)
    assert 2000 / 6 * 0.7 < len(moved) < 2000 / 6 * 1.3


@pytest.mark.parametrize("make", [Hash, ConsistentHash, IPHash])
def test_a_second_try_goes_on_where_the_first_ended(make: Any) -> None:
    policy = make(group([1] * 6), by_key())
    request = Request("10.1.2.3", "k")
    seen: list[int] = []
    for _ in range(6):
        peer = policy.pick(request, request.tried, 0)
        seen.append(place(peer))
        assert isinstance(request.tried, Walk)
        request.tried.add(peer)
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]
    assert policy.pick(request, request.tried, 0) is None


def test_without_a_key_it_is_round_robin() -> None:
    for make in (Hash, ConsistentHash):
        policy = make(group([1] * 3), by_key())
        assert [place(policy.pick(Request(), None, 0)) for _ in range(6)] == [1, 2, 3, 1, 2, 3]


def test_several_addresses_of_one_name_share_its_points() -> None:
    server = Server("name:80")
    peers = [Peer(server, (f"10.0.0.{n}", 80), f"10.0.0.{n}:80", "name", index=n) for n in range(2)]
    other = Server("other:80")
    peers.append(Peer(other, ("10.0.0.9", 80), "10.0.0.9:80", "other", index=2))
    health = Health([0] * (size(3) // 8), [server, server, other])
    policy = ConsistentHash(PeerGroup(peers, [0] * 3, health, random.Random(1), lambda: 0.0), by_key("consistent"))
    chosen = [[place(policy.pick(Request(key=f"k{key}"), None, 0)) for _ in range(4)] for key in range(20)]
    assert {3} in [set(places) for places in chosen]
    assert any(sorted(places) == [1, 1, 2, 2] for places in chosen)


def test_a_hash_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        Hash(group([1, 1]), Policy("hash"))
