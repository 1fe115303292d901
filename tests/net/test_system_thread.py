"""Blocking calls beside the event loop."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from wsgi_proxy.net import in_system_thread

UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, time
from gevent.monkey import get_original
from wsgi_proxy.net import in_system_thread
block = get_original("time", "sleep")
turns = []
def count():
    while True:
        turns.append(1); gevent.sleep(0.001)
counting = gevent.spawn(count)
def blocked(limit, *, least):
    end = get_original("time", "monotonic")() + limit
    while len(turns) < least and get_original("time", "monotonic")() < end:
        block(0.01)
    return len(turns)
assert in_system_thread(blocked, 60, least=5) >= 5, turns
try:
    in_system_thread(int, "x")
except ValueError:
    print("fine")
"""


def test_elsewhere_the_calling_thread_runs_it() -> None:
    assert in_system_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ValueError):
        in_system_thread(int, "x")


def test_greenlets_go_on_during_the_call() -> None:
    done = subprocess.run([sys.executable, "-c", UNDER_GEVENT], capture_output=True, text=True, timeout=120)
    assert done.stdout == "fine\n", done.stderr
