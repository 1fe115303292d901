"""One direction of a socket on gevent's loop: the watcher, and the greenlet that waits for it.

Rules:
- One watcher per direction, which stays started between waits, because each start costs an epoll_ctl. When it fires and no
  greenlet waits, it is stopped and the fact is kept (`ready`), so an unread byte does not spin the loop.
- A timeout arms one timer per direction and leaves it. When the timer fires before the deadline of the wait then in force, it is
  armed again for the rest. A wait with an earlier deadline arms it anew. Most waits therefore touch no timer.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from greenlet import getcurrent, greenlet

from ..clocks import monotonic

READ: Final = 1
WRITE: Final = 2
_READY: Final = 1
_LATE: Final = 2
_CLOSED: Final = 3
# Hub.switch does bookkeeping for gevent's own greenlets; the bare switch is all that is needed here.
_switch: Final = greenlet.switch
_getcurrent: Final = getcurrent


class Side:
    """One direction of a stream: its watcher, and the greenlet that waits for it.

    `idle`, if set, is called in the hub for each event while no greenlet waits. It must read, or call `stop()`.
    `step`, if set, is called in the hub for each event while a greenlet waits. The greenlet waits on while it returns True.
    """

    __slots__ = ("hub", "watcher", "waiter", "started", "ready", "deadline", "timer", "rings", "idle", "step")

    def __init__(self, hub: Any, fileno: int, events: int) -> None:
        self.hub = hub
        self.watcher = hub.loop.io(fileno, events)
        self.waiter: Any = None
        self.started = False
        self.ready = False
        self.deadline: float | None = None
        self.timer: Any = None
        self.rings = 0.0
        """The monotonic time at which the timer fires."""
        self.idle: Callable[[], None] | None = None
        self.step: Callable[[], bool] | None = None

    def start(self) -> None:
        """Watch for events."""
        if not self.started:
            self.started = True
            self.watcher.start(self._fire)

    def stop(self) -> None:
        """Stop watching, and remember that an event is pending."""
        self.started = False
        self.ready = True
        self.watcher.stop()

    def _fire(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            step = self.step
            if step is None or not step():
                waiter.switch(_READY)
        elif self.idle is not None:
            self.idle()
        else:
            self.stop()

    def wait(self, timeout: float | None) -> None:
        """Switch to the hub until there is an event. Raises TimeoutError after `timeout` seconds."""
        if self.ready:
            # Cleared: if the caller finds nothing after all, its next wait is a real one.
            self.ready = False
            return
        current = _getcurrent()
        if current is self.hub:
            raise RuntimeError("the hub must not wait: call the stream from a greenlet")
        if self.waiter is not None:
            raise RuntimeError("another greenlet waits on this side of the stream: use one reader and one writer")
        if self.watcher is None:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the stream is closed")
        if not self.started:
            self.started = True
            self.watcher.start(self._fire)
        if timeout is None:
            self.deadline = None
        else:
            self.deadline = deadline = monotonic() + timeout
            if self.timer is None:
                self._arm(timeout)
            elif deadline < self.rings:
                # Armed for a longer wait than this one.
                self._disarm()
                self._arm(timeout)
        self.waiter = current
        try:
            outcome = _switch(self.hub)
        finally:
            self.waiter = None
        if outcome != _READY:
            if outcome == _CLOSED:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the stream was closed")
            raise TimeoutError("timed out")

    def _arm(self, seconds: float) -> None:
        self.rings = monotonic() + seconds
        self.timer = self.hub.loop.timer(max(seconds, 0.0005))
        self.timer.start(self._ring)

    def _ring(self) -> None:
        self._disarm()
        if self.waiter is None or self.deadline is None:
            return
        rest = self.deadline - monotonic()
        if rest > 0:
            self._arm(rest)
        else:
            self.waiter.switch(_LATE)

    def _disarm(self) -> None:
        if self.timer is not None:
            self.timer.stop()
            self.timer.close()
            self.timer = None

    def close(self) -> None:
        """Remove the watcher before the descriptor is closed. A waiting greenlet is woken in the loop's next round."""
        if self.watcher is None:
            return
        self.watcher.stop()
        self.watcher.close()
        self.watcher = None
        self.started = False
        self.ready = False
        self.idle = None
        self._disarm()
        if self.waiter is not None:
            self.hub.loop.run_callback(self._abort, self.waiter)

    def _abort(self, waiter: Any) -> None:
        if self.waiter is waiter:
            waiter.switch(_CLOSED)
