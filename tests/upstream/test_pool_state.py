"""The state of a pool: its peers follow the addresses of names and keep their numbers. No socket is opened."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest

from tests.support import wait_until
from tests.support.pools import Clock, Request
from wsgi_proxy.balance.peers import Address
from wsgi_proxy.config import Server
from wsgi_proxy.errors import NoLiveUpstreams
from wsgi_proxy.upstream.pool import Pool
from wsgi_proxy.upstream.pool_state import Runtime
from wsgi_proxy.upstream.resolver import Resolver, Target


class Names(Resolver):
    """A resolver whose answers the test changes."""

    responses: ClassVar[dict[str, list[Address]]] = {}
    asked = threading.Semaphore(0)

    def addresses(self, target: Target) -> tuple[list[Address], float]:
        try:
            found = self.responses.get(target.host)
            if found is None:
                raise OSError("no such name")
            return list(found), 1.0
        finally:
            self.asked.release()


def asked_again(pool: Pool, clock: Clock) -> None:
    """Let time pass until the background thread has asked and its answer is in force."""
    for _ in range(100):
        if not Names.asked.acquire(blocking=False):
            break
    clock.now += 60
    pool.lease(Request()).settle()
    assert Names.asked.acquire(timeout=30)
    wait_until(lambda: not pool._names.resolving, "the answer to be taken in")


def test_a_name_that_moves_is_followed_and_those_that_stay_keep_their_numbers() -> None:
    clock = Clock()
    Names.responses = {"moving": [("10.0.0.1", 80), ("10.0.0.2", 80)]}
    servers_ = [Server("moving:80", resolve=True), Server("127.0.0.9:80", backup=True)]
    pool = Pool(servers_, "least_conn", runtime=Runtime(clock=clock, resolver=Names()))
    first, second = pool.lease(Request()), pool.lease(Request())
    assert [first.peer.name, second.peer.name] == ["10.0.0.1:80", "10.0.0.2:80"]
    Names.responses = {"moving": [("10.0.0.2", 80), ("10.0.0.3", 80)]}
    asked_again(pool, clock)
    assert [peer.name for peer in pool.peers] == ["10.0.0.2:80", "10.0.0.3:80", "127.0.0.9:80"]
    # The second one's connection still counts, so the new address is next; the first one's end does no harm.
    assert pool.lease(Request()).peer.name == "10.0.0.3:80"
    first.settle(failed=True)
    second.settle()
    assert pool.lease(Request()).peer.name == "10.0.0.2:80"
    # The resolver fails: the known addresses stay.
    Names.responses = {}
    asked_again(pool, clock)
    assert [peer.name for peer in pool.peers] == ["10.0.0.2:80", "10.0.0.3:80", "127.0.0.9:80"]


def test_names_are_renewed_without_a_request() -> None:
    clock = Clock()
    Names.responses = {"moving": [("10.0.0.1", 80)]}
    pool = Pool([Server("moving:80", resolve=True)], runtime=Runtime(clock=clock, resolver=Names()))
    assert pool.renews and not Pool([Server("127.0.0.1:80")]).renews
    Names.responses = {"moving": [("10.0.0.2", 80)]}
    pool.renew()
    assert pool.peers[0].name == "10.0.0.1:80"
    clock.now += 60
    pool.renew()
    wait_until(lambda: pool.peers[0].name == "10.0.0.2:80", "the new address")
    # The first request finds it.
    assert pool.lease(Request()).peer.name == "10.0.0.2:80"


def test_a_pool_that_is_not_kept_up_waits_for_its_name() -> None:
    clock = Clock()
    Names.responses = {}
    pool = Pool([Server("moving:80", resolve=True)], runtime=Runtime(clock=clock, resolver=Names()))
    # The first request learns of the failure at the start, the next one asks again.
    assert not pool.refresh()
    assert not pool.refresh()
    Names.responses = {"moving": [("10.0.0.1", 80)]}
    assert pool.refresh() and pool.lease(Request()).peer.name == "10.0.0.1:80"
    Names.responses = {"moving": [("10.0.0.2", 80)]}
    clock.now += 60
    assert pool.refresh() and pool.lease(Request()).peer.name == "10.0.0.2:80"


def test_a_name_not_known_at_the_start_is_found_later() -> None:
    clock = Clock()
    Names.responses = {}
    pool = Pool(
        [Server("later:80", resolve=True), Server("127.0.0.9:80", backup=True)], runtime=Runtime(clock=clock, resolver=Names())
    )
    assert pool.lease(Request()).peer.name == "127.0.0.9:80"
    # The request has started another resolution.
    wait_until(lambda: not pool._names.resolving, "the answer to be taken in")
    Names.responses = {"later": [("10.0.0.1", 80)]}
    asked_again(pool, clock)
    assert pool.lease(Request()).peer.name == "10.0.0.1:80"


def test_a_name_that_nobody_knows_is_told_from_servers_that_are_out() -> None:
    Names.responses = {}
    pool = Pool([Server("nowhere.test:80", resolve=True)], name="nowhere.test", runtime=Runtime(clock=Clock(), resolver=Names()))
    with pytest.raises(NoLiveUpstreams, match="nowhere.test could not be resolved"):
        pool.lease(Request())


def test_many_addresses_are_kept_in_order_through_a_change() -> None:
    """More than are walked: the order that is kept is made anew."""
    clock = Clock()
    Names.responses = {"many": [(f"10.0.0.{number}", 80) for number in range(40)]}
    pool = Pool([Server("many:80", resolve=True)], "least_conn", runtime=Runtime(clock=clock, resolver=Names()))
    leases = [pool.lease(Request()) for _ in range(40)]
    assert len({lease.peer for lease in leases}) == 40
    Names.responses = {"many": [(f"10.0.0.{number}", 80) for number in range(20, 60)]}
    clock.now += 60
    leases.append(pool.lease(Request()))
    wait_until(lambda: pool.peers[0].name == "10.0.0.20:80", "the new addresses")
    assert {pool.lease(Request()).peer.name for _ in range(20)} == {f"10.0.0.{number}:80" for number in range(40, 60)}
    for lease in leases:
        lease.settle()


def test_two_pools_of_one_name_share_nothing_in_one_process() -> None:
    """Workers that create the same pools in the same order share their state; a second pool of the name is another one."""
    first, second = (Pool([Server("127.0.0.1:1")], name="twice") for _ in range(2))
    lease = first.lease(Request())
    assert (first.standing()[0][1], second.standing()[0][1]) == (1, 0)
    lease.settle()
