"""The queue of requests that wait for a server (ngx_http_upstream_module, queue).

Rules:
- At most `number` requests wait in all workers together, each for at most `timeout` seconds. Others get "no live upstreams".
- Within a worker, requests are served in their order. The first one is woken when a request of this worker ends, and looks every
  few milliseconds for a server that another worker has released.
- A request waits for a threading.Event, which switches greenlets if gevent has patched it.
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
    """The waiting requests of one pool."""

    def __init__(self, memory: SharedMemory, name: str, number: int, timeout: float) -> None:
        self.number = number
        self.timeout = timeout
        self._counts = Counts(memory, f"{name}/queue", 1)
        self._line: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """True if requests of this worker are waiting. A new request must not overtake them."""
        return bool(self._line)

    @property
    def waiting(self) -> int:
        """The number of waiting requests in all workers."""
        with self._lock:
            self._counts.sync()
            return self._counts.totals[0]

    def wake(self) -> None:
        """Wake the first waiting request after another one has ended."""
        line = self._line
        if line:
            try:
                line[0].set()
            except IndexError:
                pass  # it has left meanwhile

    def wait(self, look: Callable[[], Found | None]) -> Found | None:
        """Wait until `look` returns a result. Return None if the queue is full, or at the timeout."""
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
