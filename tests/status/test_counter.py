"""Counters in shared memory: sums over processes, over their deaths, and a bounded number of subjects."""

from __future__ import annotations

import uuid

from tests.support.forks import ended, forked
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.status import counter as module
from wsgi_proxy.status.counter import OTHERS, Registry


def registry() -> Registry:
    return Registry(SharedMemory.open(uuid.uuid4().hex))


def test_counts_are_summed_over_processes_and_outlive_them() -> None:
    here = registry()
    counter = here.counter(1, 4, "a")
    counter.add(2)

    def work() -> None:
        counter.add(2)
        counter.add(0)

    for _ in range(3):
        assert ended(forked(work)) == 0
    assert counter.totals() == [3, 0, 4, 0]


def test_two_registries_of_one_memory_share_their_subjects() -> None:
    memory = SharedMemory.open(uuid.uuid4().hex)
    one, two = Registry(memory), Registry(memory)
    one.counter(1, 2, "a", "g").add(0)
    two.counter(1, 2, "a", "g").add(0)
    assert one.counter(1, 2, "a", "g").totals() == [2, 0]
    # A subject that only another registry knows is part of the sums.
    two.counter(1, 2, "b", "g").add(1)
    totals, groups, _ = one.group_totals(1, 2)
    assert totals == [2, 1] and groups == {module.digest_of("g"): [2, 1]}


def test_subjects_beyond_the_limit_are_counted_together() -> None:
    here = Registry(SharedMemory.open(uuid.uuid4().hex), 20)
    for number in range(30):
        here.counter(1, 1, f"s{number}").add(0)
    assert here.counter(1, 1, OTHERS).totals() == [26]
    assert here.counter(1, 1, "s29") is here.counter(1, 1, OTHERS)
    assert here.group_totals(1, 1)[0] == [30]


def test_a_counter_without_events_is_zero() -> None:
    here = registry()
    assert here.counter(1, 3, "a").totals() == [0, 0, 0] and here.group_totals(2, 3) == ([0, 0, 0], {}, {})
