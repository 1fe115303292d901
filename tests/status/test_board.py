"""The main process's notes."""

from __future__ import annotations

import time

from tests.support.forks import ended, forked
from wsgi_proxy.status.board import Board


def test_children_read_what_the_parent_writes() -> None:
    board = Board()
    assert board.read() is None
    board.start()
    board.died()
    board.reloaded()

    def work() -> None:
        found = board.read()
        assert found is not None and abs(found["started"] - time.time()) < 60
        assert (found["worker_deaths"], found["reloads"], found["reloads_failed"], found["last_reload_ok"]) == (1, 1, 0, True)

    assert ended(forked(work)) == 0


def test_a_failed_reload_has_its_reason() -> None:
    board = Board()
    board.start()
    assert board.read()["last_reload_ok"] is None  # type: ignore[index]
    board.reloaded("bad “directive”\n" * 1000)
    found = board.read()
    assert found is not None and found["last_reload_ok"] is False and found["reloads_failed"] == 1
    assert found["last_reload_error"].startswith("bad “directive”\n") and len(found["last_reload_error"]) < 4096
    board.reloaded()
    assert board.read()["last_reload_error"] == ""  # type: ignore[index]
