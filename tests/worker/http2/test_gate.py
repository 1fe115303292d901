"""Waiting at a gate: opened, late, by another descriptor, and wake-ups that come too late."""

from __future__ import annotations

import socket
from typing import Any

import gevent
import pytest
from gevent.hub import get_hub

from wsgi_proxy.worker.http2.gate import LATE, OPENED, OTHER, Gate


def waiting(gate: Gate, *args: Any) -> Any:
    task = gevent.spawn(gate.wait, *args)
    gevent.sleep(0)
    return task


def test_outcomes() -> None:
    gate = Gate(get_hub())
    here, there = socket.socketpair()
    task = waiting(gate, None)
    gate.open()
    gate.open()
    assert task.get(timeout=30) == OPENED
    assert waiting(gate, 0.01).get(timeout=30) == LATE
    task = waiting(gate, 60, here.fileno())
    there.send(b"x")
    assert task.get(timeout=30) == OTHER
    here.close()
    there.close()


def test_a_wait_that_has_ended_is_not_woken() -> None:
    gate = Gate(get_hub())
    gate.open()
    first = waiting(gate, None)
    gate.open()
    first.kill()
    assert waiting(gate, 0.05).get(timeout=30) == LATE


def test_one_waits_at_a_time() -> None:
    gate = Gate(get_hub())
    task = waiting(gate, None)
    with pytest.raises(RuntimeError):
        gate.wait(1)
    gate.open()
    assert task.get(timeout=30) == OPENED
