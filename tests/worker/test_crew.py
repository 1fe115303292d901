"""Parked greenlets: used again, and safe from the faults of a request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
from greenlet import getcurrent

from wsgi_proxy.worker.crew import _PARKED, Crew


def crew() -> Crew:
    return Crew(gevent.get_hub(), logging.Logger("crew"))


def in_hub(work: Callable[[], None]) -> None:
    gevent.get_hub().loop.run_callback(work)
    gevent.sleep(0.01)


def test_a_greenlet_serves_again_and_again() -> None:
    parked = crew()
    seen: list[Any] = []
    for _ in range(3):
        in_hub(lambda: parked.run(lambda: seen.append(getcurrent())))
    assert len(seen) == 3 and len(set(seen)) == 1 and parked.busy == 0


def test_who_is_not_the_hub_is_not_lost() -> None:
    parked = crew()
    seen: list[str] = []
    parked.run(lambda: seen.append("ran"))
    assert seen == []
    gevent.sleep(0.01)
    assert seen == ["ran"]


def test_waiting_work_takes_more_greenlets_and_only_some_are_kept() -> None:
    parked = crew()
    gate = gevent.event.Event()
    for _ in range(_PARKED + 20):
        in_hub(lambda: parked.run(gate.wait))
    assert parked.busy == _PARKED + 20
    gate.set()
    gevent.sleep(0.05)
    assert parked.busy == 0 and len(parked._free) == _PARKED


def test_a_fault_does_not_end_the_greenlet() -> None:
    parked = crew()

    def fail() -> None:
        raise ValueError("defect")

    in_hub(lambda: parked.run(fail))
    assert parked.busy == 0 and len(parked._free) == 1


def test_a_timeout_left_behind_does_not_hit_the_next_request() -> None:
    parked = crew()
    in_hub(lambda: parked.run(lambda: gevent.Timeout(0.02).start()))
    gevent.sleep(0.05)
    seen: list[str] = []
    in_hub(lambda: parked.run(lambda: seen.append("ran")))
    assert seen == ["ran"] and len(parked._free) == 1
