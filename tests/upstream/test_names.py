"""Addresses of servers: peers made of addresses, and the times of new resolutions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from tests.support import wait_until
from tests.support.pools import Clock
from wsgi_proxy.balance.peers import Address
from wsgi_proxy.config import Server
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.upstream.dns import LookupFailed
from wsgi_proxy.upstream.names import Addresses
from wsgi_proxy.upstream.resolver import Resolver, Target


class Responses(Resolver):
    """A resolver whose answers and lifetimes the test sets."""

    def set(self, life: float, **found: list[Address]) -> Responses:
        object.__setattr__(self, "found", found)
        object.__setattr__(self, "life", life)
        return self

    def addresses(self, target: Target) -> tuple[list[Address], float]:
        if not target.is_name:
            return super().addresses(target)
        found: dict[str, list[Address]] = self.found  # type: ignore[attr-defined]
        if target.host not in found:
            raise OSError("unknown")
        return found[target.host], self.life  # type: ignore[attr-defined]


class Entered:
    """A lock that counts the attempts to enter it."""

    def __init__(self) -> None:
        self.entered = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.entered += 1
        self._lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


class Memory:
    """The state that the workers of a test share."""

    def __init__(self) -> None:
        self.bytes = b""

    def __call__(self, size: int) -> memoryview:
        if not self.bytes:
            self.bytes = bytearray(size)  # type: ignore[assignment]
        assert len(self.bytes) == size
        return memoryview(self.bytes)


A, B, C = ("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80)


def test_servers_before_backups_in_the_order_written() -> None:
    servers = [Server("1.1.1.1", backup=True), Server("2.2.2.2"), Server("unix:/x")]
    names = Addresses(servers, Resolver(), Clock(1000.0), Memory(), nullcontext())
    assert [peer.name for peer in names.peers([])] == ["2.2.2.2:80", "unix:/x", "1.1.1.1:80"]
    assert names.named == [] and names.due == float("inf")


def ask(names: Addresses) -> list[bool]:
    """Ask again and wait; whether each answer changed anything."""
    changed: list[bool] = []

    def tell(take_in: Callable[[], bool]) -> None:
        changed.append(take_in())

    names.resolve_again(tell)
    wait_until(lambda: not names.resolving and changed, "the answer")
    return changed


def test_an_address_that_stays_is_the_same_peer() -> None:
    clock, resolver = Clock(1000.0), Responses(valid=2.0).set(2.0, a=[A, B])
    names = Addresses([Server("a", resolve=True)], resolver, clock, Memory(), nullcontext())
    assert names.due == 1002
    before = names.peers([])
    resolver.set(3.0, a=[B, C])
    clock.now = 1010
    assert ask(names) == [True]
    assert names.due == 1013
    after = names.peers(before)
    assert [peer.address for peer in after] == [B, C]
    assert after[0] is before[1]
    assert ask(names) == [False]


def test_what_cannot_be_resolved_again_stays() -> None:
    clock, resolver = Clock(1000.0), Responses().set(60.0, a=[A])
    names = Addresses([Server("a", resolve=True)], resolver, clock, Memory(), nullcontext())
    resolver.set(60.0)
    assert ask(names) == [False]
    assert [peer.address for peer in names.peers([])] == [A]
    assert names.due == 1005


@pytest.mark.parametrize("resolve", [True, False])
def test_a_name_that_no_longer_exists_has_no_addresses(resolve: bool) -> None:
    """As in nginx: another owner may have the old addresses by now. A name without `resolve` keeps those of the start."""

    class Gone(Responses):
        def addresses(self, target: Target) -> tuple[list[Address], float]:
            if self.life == 1.0:  # type: ignore[attr-defined]
                raise LookupFailed("no such name", exists=False)
            return super().addresses(target)

    clock, resolver = Clock(), Gone(valid=30.0).set(60.0, a=[A])
    names = Addresses([Server("a", resolve=resolve)], resolver, clock, Memory(), nullcontext(), system=resolver)
    resolver.set(1.0)
    assert ask(names) == [resolve]
    assert [peer.address for peer in names.peers([])] == ([] if resolve else [A])
    resolver.set(60.0, a=[A])
    assert ask(names) == [resolve]
    assert [peer.address for peer in names.peers([])] == [A]


def test_a_failure_is_tried_again_by_valid(caplog: pytest.LogCaptureFixture) -> None:
    clock, resolver = Clock(), Responses(valid=30.0).set(30.0, a=[A])
    names = Addresses([Server("a", resolve=True)], resolver, clock, Memory(), nullcontext())
    resolver.set(30.0)
    clock.now = names.due
    assert ask(names) == [False]
    assert names.due == clock.now + 30
    assert [record.getMessage() for record in caplog.records] == ["a could not be resolved: unknown"]


def test_the_first_addresses_hold_as_long_as_they_say() -> None:
    servers = [Server("a", resolve=True), Server("b", resolve=True), Server("c")]
    responses = Responses().set(600.0, a=[A], b=[B], c=[C])
    clock = Clock()
    assert Addresses(servers, responses, clock, Memory(), nullcontext(), system=responses).due == clock.now + 600


def test_a_request_that_waits() -> None:
    clock, resolver = Clock(), Responses(valid=30.0).set(30.0, a=[A])
    names = Addresses([Server("a", resolve=True)], resolver, clock, Memory(), nullcontext())
    changed: list[bool] = []
    resolver.set(30.0, a=[B])
    names.resolve_now(lambda take_in: changed.append(take_in()))
    assert changed == []
    clock.now = names.due
    names.resolve_now(lambda take_in: changed.append(take_in()))
    assert (changed, names.due) == ([True], clock.now + 30)
    # A request does not make the next ones wait for `valid` seconds for a name that came back.
    resolver.set(30.0)
    clock.now = names.due
    names.resolve_now(lambda take_in: changed.append(take_in()))
    assert (changed, names.due) == ([True, False], clock.now + 1)


def test_a_name_without_an_address_is_looked_up_by_each_request() -> None:
    clock, resolver = Clock(), Responses().set(30.0)
    names = Addresses([Server("a", resolve=True)], resolver, clock, Memory(), nullcontext())
    told: list[bool] = []

    def resolved(take_in: Callable[[], bool]) -> None:
        told.append(take_in())

    # The first request has waited for the look-up at the start.
    names.resolve_now(resolved)
    assert told == [] and names.due == clock.now
    names.resolve_now(resolved)
    assert told == [False] and names.due == clock.now
    resolver.set(30.0, a=[A])
    names.resolve_now(resolved)
    assert told == [False, True] and names.due == clock.now + 30


def test_requests_that_wait_for_a_failing_look_up_do_not_repeat_it() -> None:
    clock, resolver = Clock(), Responses().set(30.0)
    names = Addresses([Server("a", resolve=True)], resolver, clock, Memory(), nullcontext())
    told: list[bool] = []
    lock = names._waiting = Entered()  # type: ignore[assignment]
    names.resolve_now(lambda take_in: None)
    begun, goes_on = threading.Event(), threading.Event()

    def slow(take_in: Callable[[], bool]) -> None:
        begun.set()
        assert goes_on.wait(30)
        told.append(take_in())

    threads = [threading.Thread(target=names.resolve_now, args=(slow,)) for _ in range(3)]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: lock.entered == 3, "two more requests", 30)
    goes_on.set()
    for thread in threads:
        thread.join(30)
    assert told == [False]


def test_a_name_without_resolve_is_asked_again_only_when_it_suffers() -> None:
    clock = Clock(1000.0)
    server = Server("localhost:1")
    names = Addresses([server, Server("127.0.0.1:2")], Responses().set(1.0), clock, Memory(), nullcontext())
    assert names.due == float("inf")
    names.suspect(server, 1001.0)
    assert names.due == 1001
    names.suspect(names.servers[1], 0.0)
    assert names.due == 1001
    ask(names)
    assert names.due == 1005
    ask(names)
    assert names.due == float("inf")


def test_unknown_at_the_start() -> None:
    assert Addresses([Server("later", resolve=True)], Responses().set(9.0), Clock(1000.0), Memory(), nullcontext()).due == 1000
    with pytest.raises(ConfigError, match="host not found"):
        Addresses([Server("never.invalid")], Responses().set(9.0), Clock(1000.0), Memory(), nullcontext())


@pytest.mark.parametrize("resolve", [False, True])
def test_a_worker_that_starts_while_a_name_is_unknown_goes_on_with_what_was_known(resolve: bool) -> None:
    """Its container is being restarted, or the name server is away: no reason for a worker not to start."""
    memory, clock, responses = Memory(), Clock(1000.0), Responses().set(9.0, a=[A, B])
    servers = [Server("a", resolve=resolve), Server("1.1.1.1")]

    def worker() -> Addresses:
        return Addresses(servers, responses, clock, memory, nullcontext(), system=responses)

    first = worker()
    responses.set(9.0)
    assert [peer.address for peer in worker().peers([])] == [A, B, ("1.1.1.1", 80)]
    responses.set(9.0, a=[C])
    ask(first)
    responses.set(9.0)
    assert [peer.address for peer in worker().peers([])] == [C, ("1.1.1.1", 80)]
    # If no resolver ever knew the name, the configuration is wrong.
    memory.bytes = b""
    if not resolve:
        with pytest.raises(ConfigError):
            worker()


def test_more_addresses_than_fit_are_not_remembered_by_halves() -> None:
    memory = Memory()
    many: list[Address] = [(f"10.{n >> 8}.{n & 255}.1", 80) for n in range(1000)]
    server = Server("a", resolve=True)
    Addresses([server], Responses().set(9.0, a=many), Clock(1000.0), memory, nullcontext())
    assert Addresses([server], Responses().set(9.0), Clock(1000.0), memory, nullcontext()).peers([]) == []
