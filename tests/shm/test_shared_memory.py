"""The shared file: areas, locks and slots among real processes, kills, stale files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import wait_until
from tests.support.forks import ended, forked, killed
from wsgi_proxy.shm.shared_memory import SharedMemory


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[SharedMemory]:
    opened = SharedMemory.open(request.node.name, workers_max=16)
    yield opened
    # The object stays registered for the life of the process; its file is ours to remove.
    opened.path.unlink(missing_ok=True)


def test_a_process_finds_the_same_object_and_area_by_name(memory: SharedMemory) -> None:
    again = SharedMemory.open("test_a_process_finds_the_same_object_and_area_by_name", workers_max=16)
    assert again is memory
    area = memory.area("a", 100)
    assert len(area) == 100 and not any(area)
    area[3] = 7
    assert memory.area("a", 100)[3] == 7
    with pytest.raises(ValueError, match="has 100 bytes, not 200"):
        memory.area("a", 200)


def test_children_share_areas_made_before_and_after_the_fork(memory: SharedMemory) -> None:
    before = memory.area("before", 8).cast("q")

    def work() -> None:
        before[0] = 5
        memory.area("after", 8).cast("q")[0] = 6

    assert ended(forked(work)) == 0
    assert before[0] == 5
    assert memory.area("after", 8).cast("q")[0] == 6


def test_many_areas_do_not_overlap(memory: SharedMemory) -> None:
    areas = [memory.area(f"area {number}", 10 + number * 300) for number in range(30)]
    for number, area in enumerate(areas):
        area[:] = bytes([number]) * len(area)
    assert all(bytes(area) == bytes([number]) * len(area) for number, area in enumerate(areas))


def test_thousands_of_areas_made_by_two_processes(memory: SharedMemory) -> None:
    def work() -> None:
        for number in range(0, 2000, 2):
            memory.area(f"area {number}", 8).cast("q")[0] += 1

    pid = forked(work)
    for number in range(0, 2000, 3):
        memory.area(f"area {number}", 8).cast("q")[0] += 1000
    assert ended(pid) == 0
    for number in range(2000):
        value = memory.area(f"area {number}", 8).cast("q")[0]
        # Those that both write may lose one of the two.
        assert value in {(0, 0): (0,), (1, 0): (1000,), (0, 1): (1,), (1, 1): (1, 1000, 1001)}[number % 3 == 0, number % 2 == 0]


def test_a_lock_excludes_processes(memory: SharedMemory) -> None:
    counter, lock = memory.area("counter", 8).cast("q"), memory.lock("counter")

    def work() -> None:
        for _ in range(3000):
            with lock:
                counter[0] += 1

    children = [forked(work) for _ in range(4)]
    assert [ended(pid) for pid in children] == [0] * 4
    assert counter[0] == 12000


def test_a_lock_excludes_threads(memory: SharedMemory) -> None:
    counter, lock = memory.area("counter", 8).cast("q"), memory.lock("counter")

    def work() -> None:
        for _ in range(2000):
            with lock:
                value = counter[0]
                sum(range(20))
                counter[0] = value + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter[0] == 8000


def test_a_killed_holder_lets_go(memory: SharedMemory) -> None:
    lock, flag = memory.lock("held"), memory.area("flag", 8).cast("q")

    def work() -> None:
        with lock:
            flag[0] = 1
            signal.pause()

    pid = forked(work)
    wait_until(lambda: flag[0], "the child to hold the lock")
    killed(pid)
    with lock:
        flag[0] = 2
    assert flag[0] == 2


def test_each_process_has_its_own_slot_and_a_killed_one_gives_it_back(memory: SharedMemory) -> None:
    slots = memory.area("slots", 8 * 4).cast("q")

    def work(number: int) -> None:
        slots[number] = memory.slot + 1
        signal.pause()

    ours = memory.slot
    children = [forked(lambda number=number: work(number)) for number in range(3)]
    try:
        wait_until(lambda: all(slots[number] for number in range(3)), "the children's slots")
        taken = {ours, *(slots[number] - 1 for number in range(3))}
        assert len(taken) == 4
        assert {slot for slot, _ in memory.living()} == taken
        roster = memory.header[SharedMemory.ROSTER]
        assert not memory.reap()
        killed(children.pop(0))
        assert memory.reap()
        assert memory.header[SharedMemory.ROSTER] != roster
        assert {slot for slot, _ in memory.living()} == taken - {slots[0] - 1}
        # The next process may have the slot, under a generation never seen before.
        old = {memory.generation(slot) for slot in taken}
        slots[0] = 0
        children.append(forked(lambda: work(0)))
        wait_until(lambda: slots[0], "the new child's slot")
        assert memory.generation(slots[0] - 1) not in old
    finally:
        for pid in children:
            killed(pid)


def test_too_many_workers_are_an_error_and_not_silence(request: pytest.FixtureRequest) -> None:
    memory = SharedMemory.open(request.node.name, workers_max=1)
    try:
        assert memory.slot == 0

        def work() -> None:
            with pytest.raises(RuntimeError, match="more than 1 workers"):
                print(memory.slot)

        assert ended(forked(work)) == 0
    finally:
        memory.path.unlink()


def test_the_file_of_a_process_on_its_own_goes_with_it() -> None:
    script = "from wsgi_proxy.shm.shared_memory import SharedMemory; print(SharedMemory.open('goes').path)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    assert run.returncode == 0, run.stderr
    assert not Path(run.stdout.strip()).exists()
