"""The history: differences between points of one ring, written by one process."""

from __future__ import annotations

import uuid
from typing import Any

from tests.support.forks import ended, forked
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.status import metrics
from wsgi_proxy.status.history import SPAN, STEP, History
from wsgi_proxy.status.metrics import Metrics


def counted() -> tuple[Metrics, Any]:
    made = Metrics(SharedMemory.open(uuid.uuid4().hex))
    return made, made.location("s", "/").row()


def test_points_are_differences() -> None:
    made, row = counted()
    history = History(made)
    history.tick(1000.0)
    row[2], row[5], row[metrics.SENT], row[metrics.TIMES + 2] = 10, 1, 500, 11
    history.tick(1003.0)
    history.tick(1005.2)
    row[2] += 4
    history.tick(1015.0)
    first, second = history.read(1016.0)["points"]
    assert first[:4] == [1005, 5, [0, 10, 0, 0, 1], 500] and first[4][0] is not None
    assert second == [1015, 10, [0, 4, 0, 0, 0], 0, [None, None, None]]


def test_the_ring_keeps_fifteen_minutes() -> None:
    made, row = counted()
    history = History(made)
    for at in range(10_000, 12_000, STEP):
        row[2] += 1
        history.tick(at)
    found = history.read(12_000)["points"]
    assert len(found) >= SPAN // STEP - 1 and found[-1][0] == 11_995 and found[0][0] >= 12_000 - SPAN - STEP
    assert {tuple(point[2]) for point in found} == {(0, 1, 0, 0, 0)}
    assert history.read(12_000 + 2 * SPAN)["points"] == []


def test_another_process_takes_over() -> None:
    made, row = counted()
    row[2] = 1

    def work() -> None:
        history = History(made)
        history.tick(1000.0)
        row[2] = 5
        history.tick(1005.0)

    assert ended(forked(work)) == 0
    history = History(made)
    row[2] = 6
    history.tick(1010.0)
    assert [point[2][1] for point in history.read(1010.0)["points"]] == [4, 1]
