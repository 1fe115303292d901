"""The same address has the same column in every worker."""

from __future__ import annotations

import pytest

from wsgi_proxy.balance.peers import Peer
from wsgi_proxy.config import Server
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.upstream.columns import Columns


def peers(*hosts: str, server: Server = Server("name:80")) -> list[Peer]:  # noqa: B008
    return [Peer(server, (host, 80), f"{host}:80", "name") for host in hosts]


def columns(memory: SharedMemory, names: int = 1) -> Columns:
    return Columns(memory, "pool", memory.lock("pool"), [Server("name:80")], names)


def test_without_names_the_order_is_the_column() -> None:
    memory = PrivateMemory()
    found = Columns(memory, "p", memory.lock("p"), [Server("1.1.1.1"), Server("2.2.2.2")], 0)
    placed = found.assign(peers("1.1.1.1", "2.2.2.2"))
    assert [peer.index for peer in placed] == [0, 1]
    assert len(found.counts.totals) == 2


def test_two_workers_that_see_different_addresses_agree() -> None:
    memory = PrivateMemory()
    one, other = columns(memory), columns(memory)
    first = one.assign(peers("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    second = other.assign(peers("10.0.0.3", "10.0.0.4", "10.0.0.1"))
    assert {peer.name: peer.index for peer in first} == {"10.0.0.1:80": 0, "10.0.0.2:80": 1, "10.0.0.3:80": 2}
    assert {peer.name: peer.index for peer in second} == {"10.0.0.3:80": 2, "10.0.0.4:80": 3, "10.0.0.1:80": 0}


def test_what_is_known_of_an_address_stays() -> None:
    found = columns(PrivateMemory())
    (peer,) = found.assign(peers("10.0.0.1"))
    found.health.failed(peer.index, 100)
    found.assign(peers("10.0.0.2"))
    again, _ = found.assign(peers("10.0.0.1", "10.0.0.2"))
    assert again.index == peer.index and found.health.fails(again.index) == 1


def test_used_up_columns_are_given_away_with_a_clean_slate() -> None:
    found = columns(PrivateMemory())
    size = len(found.counts.totals)
    old = found.assign(peers(*[f"10.0.0.{number}" for number in range(size)]))
    assert len(old) == size
    found.counts.sync()
    found.counts.add(old[0].index)
    found.health.failed(old[1].index, 100)
    (new,) = found.assign(peers("10.9.9.9"))
    assert new.index == old[1].index
    assert found.health.fails(new.index) == 0 and found.health.failures()[new.index] == 0


def test_more_addresses_than_columns_are_left_out() -> None:
    found = columns(PrivateMemory())
    many = peers(*[f"10.0.{number >> 8}.{number & 255}" for number in range(500)])
    placed = found.assign(many)
    assert 256 <= len(placed) == len(found.counts.totals) < 500
    assert len({peer.index for peer in placed}) == len(placed)


SLOW = Server("name:80", slow_start=30)


def shares(found: Columns, placed: list[Peer], now: int) -> dict[str, float]:
    return {peer.name: found.health.share(peer.index, now) for peer in placed}


def test_an_address_that_joins_starts_slowly_for_all_workers() -> None:
    memory = PrivateMemory()
    one, other = columns(memory), columns(memory)
    assert set(shares(one, one.assign(peers("10.0.0.1", "10.0.0.2", server=SLOW), 1000), 1000).values()) == {1.0}
    assert set(shares(other, other.assign(peers("10.0.0.1", "10.0.0.2", server=SLOW), 1001), 1001).values()) == {1.0}
    epoch = one.health.epoch
    joined = one.assign(peers("10.0.0.2", "10.0.0.3", server=SLOW), 1010)
    assert one.health.epoch != epoch, "the other workers notice"
    assert shares(one, joined, 1010) == {"10.0.0.2:80": 1.0, "10.0.0.3:80": 2 / 64}
    # The other worker resolves later, and the start goes on.
    late = other.assign(peers("10.0.0.2", "10.0.0.3", server=SLOW), 1025)
    assert shares(other, late, 1025)["10.0.0.3:80"] == 33 / 64
    assert shares(other, late, 1040)["10.0.0.3:80"] == 1.0


def test_an_address_that_returns_starts_slowly_once() -> None:
    memory = PrivateMemory()
    one, other = columns(memory), columns(memory)
    both, first = peers("10.0.0.1", "10.0.0.2", server=SLOW), peers("10.0.0.1", server=SLOW)
    for found in (one, other):
        found.assign(both, 1000)
        found.assign(first, 1010)
    assert shares(one, one.assign(both, 1100), 1100)["10.0.0.2:80"] < 0.1
    assert shares(other, other.assign(both, 1150), 1150)["10.0.0.2:80"] == 1.0, "the first worker's time counts"


def test_a_worker_that_starts_anew_slows_no_known_address() -> None:
    memory = PrivateMemory()
    columns(memory).assign(peers("10.0.0.1", "10.0.0.2", server=SLOW), 1000)
    again = columns(memory)
    assert set(shares(again, again.assign(peers("10.0.0.1", "10.0.0.2", server=SLOW), 2000), 2000).values()) == {1.0}


def test_an_address_named_twice_has_two_columns() -> None:
    found = columns(PrivateMemory())
    placed = found.assign(peers("10.0.0.1", "10.0.0.1"))
    assert [peer.index for peer in placed] == [0, 1]


@pytest.mark.parametrize("names", [0, 1, 5])
def test_the_size_follows_from_the_configuration_alone(names: int) -> None:
    assert len(columns(PrivateMemory(), names).counts.totals) == len(columns(PrivateMemory(), names).counts.totals)
