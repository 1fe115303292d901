"""The state that all connections of a worker process share: the application, its greenlets, and the deadline timer.

Rules:
- An idle connection has no greenlet. `crew` gives each request one.
- One coarse timer checks the deadlines of all connections.
- Draining loses no request: an idle connection stays open for QUIET seconds, and a request that arrives meanwhile gets a response
  with `Connection: close`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from gevent.hub import get_hub
from mypy_extensions import mypyc_attr

from ..clocks import monotonic
from ..errors import ClientGone, ProxyError
from ..http import field_values, page, shown_status, status_line
from .counts import STARTED, Tally
from .crew import Crew, Log
from .request import NO_BODY
from .response import SERVER, ResponseWriter, ShortBody, clock

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from .link import Link
    from .listener import Listener

_SWEEP: Final = 0.5
"""Seconds between two checks of the deadlines, and the largest delay of a timeout."""
QUIET: Final = 1.0
"""Seconds that an idle connection of a draining worker stays open for a request that is on its way."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Hooks:
    """Callbacks around each request; these do nothing.

    With `active` False they are not called, which saves reading the clock.
    """

    def __init__(self, active: bool = False) -> None:
        self.active = active

    def before(self, connection: Link, environ: WSGIEnvironment) -> Any:
        """Called before the application, whose environ the hook may change. The returned token is passed to `after`.

        After None, `after` is not called.
        """

    def after(self, token: Any, environ: WSGIEnvironment, response: ResponseWriter) -> None:
        """Called at the end of the response, complete or cut."""


class Service:
    """The state of a worker process."""

    def __init__(
        self, app: WSGIApplication, log: Log, *, max_connections: int, max_requests: int, hooks: Hooks | None = None
    ) -> None:
        self.hub = get_hub()
        self.app = app
        # The class is asked, because a middleware may pass on the attributes of its application.
        takes_raw = getattr(type(app), "takes_raw", None)
        self.direct = takes_raw is not None and bool(takes_raw(app))
        """True if the application reads the raw fields of the environ as the worker made them."""
        self.log = log
        self.max_connections = max_connections
        self.max_requests = max_requests
        self.hooks = hooks or Hooks()
        self._answer: Any = getattr(app, "answer", None) if self.direct else None
        self.lean = self._answer is not None and not self.hooks.active and not os.environ.get("SCRIPT_NAME")
        """True if the application takes a request without an environ, and nothing else needs one."""
        self.crew = Crew(self.hub, log)
        self.connections: set[Link] = set()
        self.listeners: list[Listener] = []
        self.requests = 0
        self.counts = Tally()
        self.draining = False
        self.exhausted: Callable[[], None] = self.drain
        """Called once when `max_requests` is reached."""
        self._timer = self.hub.loop.timer(_SWEEP, _SWEEP)
        self._pending: list[Any] = []
        # From the first connection on. A proxy below a middleware takes over the counts at its first request.
        server_name = getattr(type(app), "server_name", None)
        clock.name(SERVER if server_name is None else server_name(app))
        count_for = getattr(type(app), "count_for", None)
        if count_for is not None:
            count_for(app, self)

    def start(self, listeners: Iterable[Listener]) -> None:
        """Start the timer, and accept on these listeners."""
        self.listeners = list(listeners)
        self._timer.start(self._sweep)
        for listener in self.listeners:
            listener.start()

    def count_in(self, row: Any) -> None:
        """Count in a row that an application shares with other workers; only the first application's row is taken."""
        self.counts.share(row)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in the hub after some seconds."""
        timer = self.hub.loop.timer(seconds)
        self._pending.append(timer)

        def ring() -> None:
            timer.close()
            self._pending.remove(timer)
            call()

        timer.start(ring)

    def full(self) -> None:
        """Stop accepting until a connection ends, because the limit is reached."""
        for listener in self.listeners:
            listener.pause()

    def forget(self, connection: Link) -> None:
        """Remove a connection that has ended, and accept again if there is room."""
        self.connections.discard(connection)
        if len(self.connections) == self.max_connections - 1 and self.requests < self.max_requests:
            for listener in self.listeners:
                listener.resume()

    # --- one request, in a greenlet ---

    def respond(self, link: Link, response: ResponseWriter, environ: WSGIEnvironment | None) -> bool:
        """Run the application for a request on any kind of connection. Return True if the whole response was sent.

        `environ` is None if the service is `lean` and the request is HTTP/1.
        """
        self.requests += 1
        self.counts.add(STARTED)
        if self.requests == self.max_requests:
            self.end()
        if environ is not None:
            if not self.direct:
                head = response.head
                environ["wsgi_proxy.keys"] = head.keys if link.forwarded is None else field_values(environ)
            environ["wsgi.early_hints"] = response.early_hints
        hooks = self.hooks
        token = None
        whole = False
        try:
            if environ is None:
                result = self._answer(link, response)
            else:
                if hooks.active:
                    token = hooks.before(link, environ)
                result = self.app(environ, response.start_response)
            try:
                if link.taken:
                    for _ in result:
                        pass
                else:
                    response.deliver(result)
                    whole = True
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except ClientGone as error:
            self.log.info("%s: %s", link, error)
        except Exception as error:
            self._failed(link, response, error)
        if token is not None and environ is not None:
            hooks.after(token, environ, response)
        return whole

    def _failed(self, link: Link, response: ResponseWriter, error: Exception) -> None:
        """Handle an exception of the application: send an error page, or cut a response that has begun."""
        if link.taken and isinstance(error, StopIteration):
            # An application that has served its connection through gunicorn.socket ends with it.
            return
        what = f"{response.method} {response.head.target}"
        if response.head_sent or link.taken:
            if isinstance(error, ShortBody):
                self.log.error("%s: the response to %s was cut: %s", link, what, error)
            elif not isinstance(error, ProxyError):  # the application has logged it
                self.log.exception("%s: the response to %s was cut", link, what)
            if not link.taken:
                response.break_off()
            return
        if isinstance(error, ProxyError):
            self.log.info("%s: %s: %s", link, what, error)
            status = error.status
        else:
            self.log.exception("Error handling request %s", what)
            status = 500
        fresh = response.fresh()
        try:
            self.send_page(fresh, status)
        except ClientGone:
            link.gone = True
        # The log and the hooks report the page.
        response.status, response.headers, response.sent = fresh.status, fresh.headers, fresh.sent
        response.failed, response.keep = True, False

    def send_page(self, response: ResponseWriter, status: int) -> None:
        """Send the standard page of a status."""
        body = page(status)
        fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        response.start_response(status_line(shown_status(status)), fields)
        response.deliver([body])

    def refuse(self, link: Link, response: ResponseWriter, environ: WSGIEnvironment, error: ProxyError) -> None:
        """Respond to a malformed request, with the application's error page if that is the proxy. Raises ClientGone."""
        self.counts.add(STARTED)
        self.log.info("%s: %s", link, error)
        if not self.direct:
            self.send_page(response, error.status)
            return
        environ["wsgi.input"] = NO_BODY
        app: Any = self.app
        try:
            result = app.respond_refused(environ, response.start_response, error)
            try:
                response.deliver(result)
            finally:
                result.close()
        except ClientGone:
            raise
        except Exception as failure:
            self._failed(link, response, failure)

    def end(self) -> None:
        """Stop accepting and exit, because `max_requests` requests have been served."""
        self.full()
        self.exhausted()

    def drain(self) -> None:
        """Stop accepting, and let every connection end with its current or next response."""
        if self.draining:
            return
        self.draining = True
        for listener in self.listeners:
            listener.drain()
        self.listeners = []
        now = monotonic()
        for connection in list(self.connections):
            connection.drain(now + QUIET)

    def abort(self) -> None:
        """Close all listeners and connections now."""
        for listener in self.listeners:
            listener.close()
        self.listeners = []
        for connection in list(self.connections):
            connection.close()
        self._timer.stop()

    def _sweep(self) -> None:
        now = monotonic()
        for connection in list(self.connections):
            if connection.deadline <= now:
                try:
                    connection.expire()
                except Exception:
                    self.log.exception("Error while ending a connection after its timeout")
                    connection.close()
