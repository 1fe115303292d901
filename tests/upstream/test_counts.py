"""Connection counts among real processes: all see the same, and a kill removes exactly the dead worker's share."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import wait_until
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.upstream.counts import Counts


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[SharedMemory]:
    opened = SharedMemory.open(f"{__name__} {request.node.name}")
    yield opened
    opened.path.unlink(missing_ok=True)


class Worker:
    """A forked child that obeys one-byte commands through a pipe, each answered by its totals."""

    def __init__(self, counts: Counts) -> None:
        commands, self._send = os.pipe()
        self._receive, responses = os.pipe()
        self.servers = len(counts.totals)
        self.pid = os.fork()
        if not self.pid:
            try:
                self._obey(counts, commands, responses)
            finally:
                os._exit(0)
        os.close(commands)
        os.close(responses)

    def _obey(self, counts: Counts, commands: int, responses: int) -> None:
        while command := os.read(commands, 2):
            counts.sync()
            kind, index = command
            if kind == ord("+"):
                counts.add(index)
            elif kind == ord("-"):
                counts.remove(index)
            counts.sync()
            os.write(responses, bytes(counts.totals))

    def do(self, kind: str, index: int = 0) -> list[int]:
        os.write(self._send, bytes([ord(kind), index]))
        return list(os.read(self._receive, self.servers))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._send)
        os.close(self._receive)


def test_workers_see_each_others_connections(memory: SharedMemory) -> None:
    counts = Counts(memory, "pool", 3)
    workers = [Worker(counts), Worker(counts)]
    try:
        assert workers[0].do("+", 1) == [0, 1, 0]
        assert workers[1].do("+", 1) == [0, 2, 0]
        assert workers[1].do("+", 2) == [0, 2, 1]
        assert workers[0].do("?") == [0, 2, 1]
        assert workers[0].do("-", 1) == [0, 1, 1]
        counts.sync()
        assert counts.totals == [0, 1, 1]
    finally:
        for worker in workers:
            worker.kill()


def test_one_who_fell_behind_reads_the_rows(memory: SharedMemory) -> None:
    """More changes than a ring holds between two looks."""
    counts = Counts(memory, "pool", 3)
    worker = Worker(counts)
    try:
        counts.sync()
        for _ in range(1000):
            worker.do("+", 2)
            worker.do("-", 2)
        worker.do("+", 0)
        counts.sync()
        assert counts.totals == [1, 0, 0]
        worker.do("+", 0)
        counts.sync()
        assert counts.totals == [2, 0, 0]
    finally:
        worker.kill()


def test_a_killed_workers_connections_vanish_and_its_slot_is_used_again(memory: SharedMemory) -> None:
    counts = Counts(memory, "pool", 2)
    counts.sync()
    counts.add(0)
    for round_ in range(20):
        worker = Worker(counts)
        for _ in range(round_ + 1):
            worker.do("+", round_ % 2)
        counts.sync()
        assert counts.totals[round_ % 2] == round_ + 1 + (round_ % 2 == 0)
        worker.kill()
        assert memory.reap()
        counts.sync()
        assert counts.totals == [1, 0]


def test_a_later_worker_starts_from_what_there_is(memory: SharedMemory) -> None:
    counts = Counts(memory, "pool", 2)
    counts.sync()
    for _ in range(200):
        counts.add(1)
    elsewhere, worker = Worker(Counts(memory, "another pool", 2)), Worker(counts)
    try:
        assert elsewhere.do("?") == [0, 0]
        assert worker.do("?") == [0, 200]
    finally:
        elsewhere.kill()
        worker.kill()


def busy(counts: Counts, seed: int) -> None:
    """Open and close without end, at random, never more than ten at once."""
    dice = random.Random(seed)
    held: list[int] = []
    while True:
        counts.sync()
        if held and (len(held) >= 10 or dice.random() < 0.5):
            counts.remove(held.pop(dice.randrange(len(held))))
        else:
            held.append(dice.randrange(len(counts.totals)))
            counts.add(held[-1])


def spawn(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(0)
    return 0


def test_many_kills_under_load_leave_no_drift(memory: SharedMemory) -> None:
    """Two busy workers, one of them killed at a random moment and replaced, sixty times: when all are gone, zero is left."""
    counts = Counts(memory, "pool", 6)
    counts.sync()
    dice = random.Random(3)
    pids = [spawn(lambda seed=seed: busy(counts, seed)) for seed in (1, 2)]  # type: ignore[misc]
    try:
        for round_ in range(60):
            until = time.monotonic() + dice.random() * 0.02
            while time.monotonic() < until:
                counts.sync()
                assert all(-1 <= total <= 31 for total in counts.totals)
            victim = pids.pop(0)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            pids.append(spawn(lambda seed=round_ + 10: busy(counts, seed)))  # type: ignore[misc]
            memory.reap()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    memory.reap()
    counts.sync()
    assert counts.totals == [0] * 6


def test_a_reader_in_the_middle_of_traffic_ends_with_the_truth(memory: SharedMemory) -> None:
    """A worker changes thousands of times while we look at uneven intervals; when it stops we agree to the last count."""
    counts = Counts(memory, "pool", 4)
    counts.sync()
    done = memory.area("done", 8).cast("q")

    def work() -> None:
        dice = random.Random(9)
        held: list[int] = []
        for _ in range(20_000):
            counts.sync()
            if held and dice.random() < 0.5:
                counts.remove(held.pop())
            else:
                held.append(dice.randrange(4))
                counts.add(held[-1])
        done[0] = 1 + len(held)
        signal.pause()

    pid = spawn(work)
    try:
        dice = random.Random(4)
        while not done[0]:
            counts.sync()
            time.sleep(dice.choice([0, 0, 0.0001, 0.004]))
        counts.sync()
        assert sum(counts.totals) == done[0] - 1
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    wait_until(memory.reap, "the dead worker to be noticed")
    counts.sync()
    assert counts.totals == [0] * 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=600))
def test_changes_are_listed_for_those_who_keep_an_order(indexes: list[int]) -> None:
    memory = SharedMemory.open(f"{__name__} hypothesis")
    counts = Counts(memory, memory.unique("pool"), 5)
    counts.changed = []
    counts.sync()
    for index in indexes:
        counts.add(index)
    assert counts.changed == indexes
    assert counts.totals == [indexes.count(index) for index in range(5)]
    for index in indexes:
        counts.remove(index)
    assert counts.totals == [0] * 5


def test_the_connections_of_other_machines_are_in_all_totals(memory: SharedMemory) -> None:
    counts = Counts(memory, "synced", 3, sync=True)
    one, two = Worker(counts), Worker(counts)
    assert one.do("+", 0) == [1, 0, 0]
    counts.sync()
    counts.set_distant([4, 0, 2])
    assert one.do("=") == two.do("=") == [5, 0, 2]
    counts.sync()
    assert (counts.totals, counts.local()) == ([5, 0, 2], [1, 0, 0])
    # More changes than the ring holds.
    for number in range(1000):
        counts.set_distant([number % 7, number % 5, number % 3])
    counts.set_distant([1, 2, 0])
    assert two.do("=") == [2, 2, 0]
    late = Worker(counts)
    assert late.do("+", 2) == [2, 2, 1]
    for worker in (one, two, late):
        worker.kill()
    memory.reap()
    counts.sync()
    assert (counts.totals, counts.local()) == ([1, 2, 0], [0, 0, 0])
    counts.set_distant([0, 0, 0])
    counts.sync()
    assert counts.totals == [0, 0, 0]
