"""The worker's connection handling without its process: a Service and a listener on a loop in a thread of this process."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from wsgi_proxy.worker.listener import Listener
from wsgi_proxy.worker.request.environ import FileWrapper
from wsgi_proxy.worker.service import Hooks, Service
from wsgi_proxy.worker.settings import ListenerSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

BASE = {
    "wsgi.version": (1, 0),
    "wsgi.errors": None,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "wsgi.file_wrapper": FileWrapper,
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "test",
    "SCRIPT_NAME": "",
}

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that responds with `hello`."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that responds with the request's body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Serving:
    """A running service. `lines` are its log's, as text; `port` is where it listens."""

    def __init__(self, service: Service, listener: Listener, sock: socket.socket, lines: list[str]) -> None:
        self.service = service
        self.listener = listener
        self.port: int = sock.getsockname()[1] if sock.family != socket.AF_UNIX else 0
        self.lines = lines

    def call(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the service's loop and give its result."""
        done = threading.Event()
        box: list[Any] = []

        def run() -> None:
            try:
                box.append((work(), None))
            except BaseException as fault:
                box.append((None, fault))
            done.set()

        self.service.hub.loop.run_callback_threadsafe(run)
        assert done.wait(30), "the loop does not answer"
        if box[0][1] is not None:
            raise box[0][1]
        return box[0][0]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def serving(
    app: WSGIApplication,
    *,
    max_connections: int = 100,
    max_requests: int = 1 << 60,
    hooks: Hooks | None = None,
    sock: socket.socket | None = None,
    base: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Serving]:
    """Serve `app`; `settings` are those of ListenerSettings. Everything is ended with the block, and nothing may be left."""
    handler = _Lines()
    log = logging.Logger("worker")
    log.addHandler(handler)
    listening = sock or socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()
    state: list[Any] = []

    def live() -> None:
        hub = gevent.get_hub()
        service = Service(app, log, max_connections=max_connections, max_requests=max_requests, hooks=hooks)
        listener = Listener(service, listening, ListenerSettings(**settings), {**BASE, **(base or {})}, 4)
        end = Event()
        bell = hub.loop.async_()
        bell.start(end.set)
        service.start([listener])
        state.extend((Serving(service, listener, listening, handler.lines), bell))
        ready.set()
        end.wait()
        service.abort()
        gevent.sleep(0)
        bell.stop()
        bell.close()
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield state[0]
    finally:
        state[1].send()
        thread.join(30)
        listening.close()
    assert not thread.is_alive(), "the loop did not end"
    assert not state[0].service.connections
