"""Rules for every test: `filterwarnings = error` and the deadline are in pyproject.toml; here is the end of the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def _children() -> dict[int, str]:
    """The living child processes of this process, with their command lines."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        for pid in Path("/proc/self/task", task, "children").read_text().split():
            try:
                command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended in this moment
            # A zombie has no command line; pytest-xdist and multiprocessing keep helpers to the very end.
            if command and "execnet" not in command and "resource_tracker" not in command:
                found[int(pid)] = command
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Every process that a test started was stopped by it."""
    yield
    assert not _children(), f"still running after the tests: {_children()}"
