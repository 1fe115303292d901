"""Greenlets for requests.

Rules:
- A greenlet whose request has ended is parked for one of the next requests: a switch costs less than a new greenlet.
- An exception of a request never ends the process; it is logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from greenlet import GreenletExit, getcurrent, greenlet

_switch: Final = greenlet.switch
_getcurrent: Final = getcurrent

_PARKED: Final = 128
"""Greenlets kept for the next requests; further ones end with their request."""


class Log(Protocol):
    """The methods of gunicorn's logger that the worker uses."""

    def error(self, msg: str, *args: object) -> None: ...
    def warning(self, msg: str, *args: object) -> None: ...
    def info(self, msg: str, *args: object) -> None: ...
    def debug(self, msg: str, *args: object) -> None: ...
    def exception(self, msg: str, *args: object) -> None: ...


class Crew:
    """Greenlets for requests, parked between two of them."""

    __slots__ = ("_free", "_hub", "_log", "busy")

    def __init__(self, hub: Any, log: Log) -> None:
        self._hub = hub
        self._log = log
        self._free: list[Any] = []
        self.busy = 0

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` in a greenlet: at once when called in the hub, else in the loop's next round."""
        if _getcurrent() is not self._hub:
            # A parked greenlet switches to the hub, so any other caller would never be resumed.
            self._hub.loop.run_callback(self.run, work)
            return
        free = self._free
        self.busy += 1
        if free:
            free.pop().switch(work)
        else:
            made = greenlet(self._live, self._hub)
            # Started without work, because a greenlet keeps its first arguments alive until it ends.
            made.switch()
            made.switch(work)

    def _live(self) -> None:
        free = self._free
        work = self._parked()
        while work is not None:
            try:
                work()
            except GreenletExit:
                # Killed: its connection was closed, too.
                pass
            except BaseException:
                self._log.exception("Error in a connection's greenlet")
            self.busy -= 1
            if len(free) >= _PARKED:
                return
            free.append(_getcurrent())
            work = None  # a parked greenlet must not keep its last request alive
            work = self._parked()

    def _parked(self) -> Callable[[], None] | None:
        """Switch to the hub until there is work; return None if the greenlet must end."""
        while True:
            try:
                work: Callable[[], None] | None = _switch(self._hub)
            except GreenletExit:
                return None
            except BaseException as error:
                # A timeout that a finished application left behind.
                self._log.debug("ignored in a parked greenlet: %r", error)
            else:
                if work is not None:
                    return work
