"""What all connections of one worker process share: the application, the greenlets that run it, the clock that ends waits.

Rules:
- An idle connection has no greenlet. `Crew` keeps finished greenlets parked and gives each request one of them.
- One coarse timer looks at every connection's deadline; no connection has a timer of its own.
- Draining loses nothing: what is idle stays open for a quiet moment, in which a request that was on its way is still answered,
  with `Connection: close`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from gevent.hub import get_hub
from greenlet import GreenletExit, getcurrent, greenlet
from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from .connection import Connection
    from .link import Link
    from .listener import Listener
    from .response import ResponseWriter

_switch = greenlet.switch

_SWEEP = 0.5
"""Seconds between two looks at the deadlines; a timeout ends at most this much late."""
QUIET = 1.0
"""Seconds that an idle connection of a draining worker stays open for a request that is on its way."""
_PARKED = 128
"""Greenlets kept for the next requests; more than that end when their request does."""


class Log(Protocol):
    """The part of gunicorn's logger that is used here."""

    def error(self, msg: str, *args: object) -> None: ...
    def warning(self, msg: str, *args: object) -> None: ...
    def info(self, msg: str, *args: object) -> None: ...
    def debug(self, msg: str, *args: object) -> None: ...
    def exception(self, msg: str, *args: object) -> None: ...


@mypyc_attr(allow_interpreted_subclasses=True)
class Hooks:
    """What the worker wants to know of each request; this one wants nothing.

    `active` False spares the calls and the clock reading.
    """

    def __init__(self, active: bool = False) -> None:
        self.active = active

    def before(self, connection: Connection, environ: WSGIEnvironment) -> Any:
        """Called before the application, whose environ it may change; what it gives is handed to `after`.

        With None `after` is not called.
        """

    def after(self, token: Any, environ: WSGIEnvironment, response: ResponseWriter) -> None:
        """Called when the answer is complete, or as complete as it gets."""


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
        if getcurrent() is not self._hub:
            # A parked greenlet gives way to the hub, so who is not the hub would never be switched back to.
            self._hub.loop.run_callback(self.run, work)
            return
        free = self._free
        self.busy += 1
        (free.pop() if free else greenlet(self._live, self._hub)).switch(work)

    def _live(self, work: Callable[[], None] | None) -> None:
        free = self._free
        while work is not None:
            try:
                work()
            except GreenletExit:
                # Ended from outside: the connection was closed with it.
                pass
            except BaseException:
                self._log.exception("Error in a connection's greenlet")
            self.busy -= 1
            if len(free) >= _PARKED:
                return
            free.append(getcurrent())
            work = None  # what is parked holds nothing
            work = self._parked()

    def _parked(self) -> Callable[[], None] | None:
        """Give way to the hub until there is work; None when this greenlet is to end."""
        while True:
            try:
                work: Callable[[], None] | None = _switch(self._hub)
            except GreenletExit:
                return None
            except BaseException as error:
                # A timeout that an application left behind when it had finished.
                self._log.debug("ignored in a parked greenlet: %r", error)
            else:
                if work is not None:
                    return work


class Service:
    """One worker process's state; see the module's rules."""

    def __init__(
        self, app: WSGIApplication, log: Log, *, max_connections: int, max_requests: int, hooks: Hooks | None = None
    ) -> None:
        self.hub = get_hub()
        self.app = app
        # Asked of the class: a middleware that passes on its application's attributes is not that application.
        takes_raw = getattr(type(app), "takes_raw", None)
        self.direct = takes_raw is not None and bool(takes_raw(app))
        """The application reads our environ itself, as it was made."""
        self.log = log
        self.max_connections = max_connections
        self.max_requests = max_requests
        self.hooks = hooks or Hooks()
        self.crew = Crew(self.hub, log)
        self.connections: set[Link] = set()
        self.listeners: list[Listener] = []
        self.requests = 0
        self.draining = False
        self.exhausted: Callable[[], None] = self.drain
        """Called once when `max_requests` is reached."""
        self.handle_http2: Callable[[Connection], None] | None = None
        self._timer = self.hub.loop.timer(_SWEEP, _SWEEP)
        self._pending: list[Any] = []

    def start(self, listeners: Iterable[Listener]) -> None:
        """Accept on these listeners."""
        self.listeners = list(listeners)
        self._timer.start(self._sweep)
        for listener in self.listeners:
            listener.start()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call in the hub after some time."""
        timer = self.hub.loop.timer(seconds)
        self._pending.append(timer)

        def ring() -> None:
            timer.close()
            self._pending.remove(timer)
            call()

        timer.start(ring)

    def full(self) -> None:
        """No room for another connection, or no time: stop accepting, until one ends."""
        for listener in self.listeners:
            listener.pause()

    def forget(self, connection: Link) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if len(self.connections) == self.max_connections - 1 and self.requests < self.max_requests:
            for listener in self.listeners:
                listener.resume()

    def end(self) -> None:
        """As many requests as `max_requests` allows have come: this one is the last."""
        self.full()
        self.exhausted()

    def drain(self) -> None:
        """Accept no more, and let every connection end with its present or next answer."""
        if self.draining:
            return
        self.draining = True
        for listener in self.listeners:
            listener.drain()
        self.listeners = []
        now = time.monotonic()
        for connection in list(self.connections):
            connection.drain(now + QUIET)

    def abort(self) -> None:
        """Close everything now."""
        for listener in self.listeners:
            listener.close()
        self.listeners = []
        for connection in list(self.connections):
            connection.close()
        self._timer.stop()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            if connection.deadline <= now:
                try:
                    connection.expire()
                except Exception:
                    self.log.exception("Error while ending a connection that is late")
                    connection.close()
