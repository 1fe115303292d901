"""Requests that wait for a server instead of being refused (`queue number [timeout=]`).

Rules:
- At most `number` wait, in all workers together; each at most `timeout` seconds. Beyond that: no live upstreams.
- First come, first served within a worker. The first in line is woken when one of our own requests ends, and looks for
  what other workers freed every few milliseconds.
- Waiting is done by threading.Event, which is a greenlet's wait where gevent has patched it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ..shm import SharedMemory
from .counts import Counts

_LOOK_AGAIN = 0.01

Found = TypeVar("Found")


class Queue:
    """Who waits for a server of one pool."""

    def __init__(self, memory: SharedMemory, name: str, number: int, timeout: float) -> None:
        self.number = number
        self.timeout = timeout
        self._counts = Counts(memory, f"{name}/queue", 1)
        self._line: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Somebody waits already: nobody may go before."""
        return bool(self._line)

    @property
    def waiting(self) -> int:
        """How many wait in all workers."""
        with self._lock:
            self._counts.sync()
            return self._counts.totals[0]

    def wake(self) -> None:
        """A request ended: the first in line may look."""
        line = self._line
        if line:
            try:
                line[0].set()
            except IndexError:
                pass  # it left in this moment

    def wait(self, look: Callable[[], Found | None]) -> Found | None:
        """Stand in line until `look` gives something; None when the line is full or the time is up."""
        ticket = threading.Event()
        with self._lock:
            self._counts.sync()
            if self._counts.totals[0] >= self.number:
                return None
            self._counts.add(0)
            self._line.append(ticket)
        deadline = time.monotonic() + self.timeout
        try:
            while True:
                first = self._line[0] is ticket
                if first:
                    found = look()
                    if found is not None:
                        return found
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                ticket.wait(min(left, _LOOK_AGAIN) if first else left)
                ticket.clear()
        finally:
            with self._lock:
                self._line.remove(ticket)
                self._counts.remove(0)
            self.wake()
