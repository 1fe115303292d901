"""Figures of processes."""

from __future__ import annotations

import os
import time

from tests.support.forks import ended, forked
from wsgi_proxy.status.processes import process_of


def test_this_process() -> None:
    before = process_of(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = process_of(os.getpid())
    assert after["cpu_seconds"] >= before["cpu_seconds"] + 0.05
    assert after["memory_bytes"] > 1 << 20 and after["open_files"] >= 3


def test_a_process_that_has_ended() -> None:
    pids: list[int] = []
    read, write = os.pipe()
    assert ended(forked(lambda: os.write(write, str(os.getpid()).encode()))) == 0
    pids.append(int(os.read(read, 20)))
    assert process_of(pids[0]) == {"cpu_seconds": None, "memory_bytes": None, "open_files": None}
