"""A machine of the cluster as one light process, which the parent commands over a pipe."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from wsgi_proxy.cluster import Membership, SharedRates
from wsgi_proxy.config import Cluster, Config, KeyvalZone, Policy, Server, Upstream
from wsgi_proxy.keyval import Zones
from wsgi_proxy.shm import PrivateMemory
from wsgi_proxy.upstream import Pool, Runtime
from wsgi_proxy.upstream.sync import SyncedUpstreams

SERVERS = 20
POLL = 0.005
"""Seconds between two looks for a piece of news."""
_DEADLINE = 60.0


class _Request:
    """The part of an exchange that a pool reads."""

    def __init__(self, tried: set[Any]) -> None:
        self.tried = tried

    def header(self, name: str) -> str:
        return ""


class Machine:
    """One machine. The methods are the commands; times are those of the monotonic clock, which all processes share."""

    def __init__(self, cluster: Cluster) -> None:
        memory = PrivateMemory()
        self.membership = Membership(cluster, memory)
        self.rates = SharedRates(self.membership.link)
        servers = tuple(Server(f"127.0.0.1:{number + 1}", max_fails=1, fail_timeout=600) for number in range(SERVERS))
        self.pool = Pool.from_config(
            Upstream("u", servers, Policy("round_robin"), zone="u", sync=True), Runtime(memory, sync=True)
        )
        SyncedUpstreams([self.pool], self.membership)
        zone = KeyvalZone("k", 1 << 20, sync=True)
        self.zone = Zones(Config(keyval_zones={"k": zone}), memory, self.membership).by_name["k"]
        self.membership.begin()

    def machines(self) -> int:
        """Return the number of machines in the cluster, 0 while Redis does not answer."""
        try:
            return len(self.membership.machines())
        except OSError:
            return 0

    def limit(self, start: float, seconds: float, interval: float, rate: int, burst: int) -> tuple[int, int, int]:
        """Ask for decisions at a steady rate. Return the numbers of admitted, refused and undecided requests."""
        counts = [0, 0, 0]
        at = start + random.random() * interval
        while at < start + seconds:
            time.sleep(max(0.0, at - time.monotonic()))
            try:
                refused, _ = self.rates.judge([("z", b"key", rate * 1000, burst * 1000)])
                counts[0 if refused < 0 else 1] += 1
            except OSError:
                counts[2] += 1
            at += interval
        return counts[0], counts[1], counts[2]

    def flood(self, start: float, seconds: float) -> int:
        """Ask for decisions as fast as possible. Return their number."""
        time.sleep(max(0.0, start - time.monotonic()))
        key, count = b"%d" % os.getpid(), 0
        while time.monotonic() < start + seconds:
            try:
                self.rates.judge([("z", key, 1_000_000, 1_000_000)])
                count += 1
            except OSError:
                continue
        return count

    def put(self, key: str) -> float:
        """Add a pair, and return the time."""
        now = time.monotonic()
        self.zone.put((key.encode(), b"v", None))
        return now

    def see(self, key: str) -> float:
        """Wait for a pair of another machine, and return the time at which it is there."""
        return _when(lambda: self.zone.find(key.encode()) is not None)

    def fail(self, index: int) -> float:
        """Let a request to a server fail, and return the time."""
        lease = self.pool.lease(_Request({peer for peer in self.pool.peers if peer.index != index}))
        now = time.monotonic()
        lease.settle(failed=True)
        return now

    def out(self, index: int) -> float:
        """Wait until a server is out here, too, and return the time."""
        return _when(lambda: self.pool.health.closed(index, int(time.time())))

    def close(self) -> None:
        """Leave the cluster."""
        self.membership.close()


def _when(condition: Any) -> float:
    end = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the news did not come")
        time.sleep(POLL)
    return time.monotonic()


def _serve(cluster: Cluster, pipe: Connection) -> None:
    machine = Machine(cluster)
    while True:
        name, arguments = pipe.recv()
        pipe.send(getattr(machine, name)(*arguments))
        if name == "close":
            return


class Machines:
    """The light machines of one cluster."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def __len__(self) -> int:
        return len(self._pipes)

    def one(self, number: int, name: str, *arguments: Any) -> Any:
        """Return the result of a command of one machine."""
        self._pipes[number].send((name, arguments))
        return self._pipes[number].recv()

    def all(self, name: str, *arguments: Any, spare: int = -1) -> list[Any]:
        """Return the results of a command that all machines execute at once, but for `spare`."""
        return self.finish(self.begin(name, *arguments, spare=spare))

    def begin(self, name: str, *arguments: Any, spare: int = -1) -> list[Connection]:
        """Begin a command of all machines but `spare`."""
        pipes = [pipe for number, pipe in enumerate(self._pipes) if number != spare]
        for pipe in pipes:
            pipe.send((name, arguments))
        return pipes

    def finish(self, pipes: list[Connection]) -> list[Any]:
        """Return the results of a command that has begun."""
        return [pipe.recv() for pipe in pipes]


@contextmanager
def machines(cluster: Cluster, count: int) -> Iterator[Machines]:
    """Start light machines, which know each other when they are given."""
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(cluster, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    made = Machines(pipes)
    try:
        end = time.monotonic() + _DEADLINE
        while set(made.all("machines")) != {count}:
            if time.monotonic() > end:
                raise TimeoutError("the machines did not find each other")
            time.sleep(0.2)
        yield made
    finally:
        for pipe in pipes:
            # Later children hold copies of this end, so closing it would not end a machine.
            with suppress(OSError):
                pipe.send(("close", ()))
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
