"""Forked children of the test process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def forked(work: Callable[[], object]) -> int:
    """Return the pid of a forked child that runs `work()` and ends with 0, or with 1 after an exception."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for the end of a child and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(pid: int) -> None:
    """Kill a child and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
