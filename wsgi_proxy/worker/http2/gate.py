"""A greenlet's wait for another part of its connection: the reader of frames, the writer, or another stream.

Rules:
- One greenlet waits at a time. The loop wakes it in its next round, never during the other part's work.
- Each wait has a number, so that a late wake-up cannot end the next wait.
"""

from __future__ import annotations

from typing import Any, Final

from greenlet import getcurrent, greenlet

_switch: Final = greenlet.switch
OPENED: Final = 1
LATE: Final = 2
OTHER: Final = 3
"""The reason for the end of a wait: a call of `open`, a timeout, or the readable other descriptor."""


class Gate:
    """A gate at which one greenlet waits. `hub` is the loop's greenlet."""

    __slots__ = ("_hub", "_number", "_waiter")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._waiter: Any = None
        self._number = 0

    def wait(self, seconds: float | None, other: int = -1) -> int:
        """Wait until `open` is called, for `seconds` at most (None: no limit), or until the descriptor `other` can be read."""
        if self._waiter is not None:
            raise RuntimeError("another greenlet waits at this gate")
        hub = self._hub
        self._number += 1
        timer = watcher = None
        if seconds is not None:
            timer = hub.loop.timer(max(seconds, 0.0005))
            timer.start(self._wake, self._number, LATE)
        if other >= 0:
            watcher = hub.loop.io(other, 1)
            watcher.start(self._wake, self._number, OTHER)
        self._waiter = getcurrent()
        try:
            outcome: int = _switch(hub)
        finally:
            self._waiter = None
            if timer is not None:
                timer.stop()
                timer.close()
            if watcher is not None:
                watcher.stop()
                watcher.close()
        return outcome

    def open(self) -> None:
        """Wake the waiting greenlet, if there is one."""
        if self._waiter is not None:
            self._hub.loop.run_callback(self._wake, self._number, OPENED)

    def _wake(self, number: int, outcome: int) -> None:
        if self._waiter is not None and number == self._number:
            self._waiter.switch(outcome)
