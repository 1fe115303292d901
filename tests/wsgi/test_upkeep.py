"""Periodic work beside the requests."""

from __future__ import annotations

import threading

from wsgi_proxy.wsgi.upkeep import Upkeep


def test_chores_go_on_when_one_fails() -> None:
    done: list[str] = []

    def broken() -> None:
        raise ValueError("no")

    Upkeep((broken, lambda: done.append("x"))).round()
    assert done == ["x"]


def test_it_begins_once_and_stops() -> None:
    ran = threading.Event()
    before = threading.active_count()
    upkeep = Upkeep((ran.set,))
    upkeep.begin()
    upkeep.begin()
    assert threading.active_count() == before + 1
    assert ran.wait(30)
    upkeep.stop()
    assert upkeep.pid == 0
