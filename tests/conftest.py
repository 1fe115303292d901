"""Rules for all tests: tests of pure modules open no socket, and no process outlives the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# How long an example takes depends on the machine.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

#: Modules without input and output. Their tests open no socket.
PURE = """
    test_errors test_exchange config/test_model http/test_headers http/test_request http/test_response http/test_framing
    http/test_syntax http/test_uri cache/rfc9111/test_fields cache/rfc9111/test_freshness balance/test_health
    balance/test_policies routing/test_router
""".split()
_pure_now = ""


def _audit(event: str, args: tuple[object, ...]) -> None:
    if _pure_now and event == "socket.__new__":
        raise AssertionError(f"{_pure_now} is pure: its tests open no socket")


# Installed once, because an audit hook cannot be removed.
sys.addaudithook(_audit)


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("ours_alone")
    if mark is not None and os.environ.get("WORKER_CLASS"):
        pytest.skip(f"for ProxyWorker alone: {mark.args[0]}")


@pytest.fixture(autouse=True)
def no_socket_in_tests_of_pure_modules(request: pytest.FixtureRequest) -> Iterator[None]:
    global _pure_now
    name = request.path.relative_to(Path(__file__).parent).with_suffix("").as_posix()
    _pure_now = name if name in PURE else ""
    yield
    _pure_now = ""


def _children() -> dict[int, str]:
    """Return the command lines of the live child processes by process ID."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        try:
            pids = Path("/proc/self/task", task, "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended, and another one has adopted its children
        for pid in pids:
            try:
                command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # the process has ended
            # A zombie has no command line. Helpers of pytest-xdist and multiprocessing run until the end.
            if command and "execnet" not in command and "resource_tracker" not in command:
                found[int(pid)] = command
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail if a process that a test started is still running."""
    yield
    assert not _children(), f"still running after the tests: {_children()}"
