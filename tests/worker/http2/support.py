"""The application that the tests of HTTP/2 serve, and its server: plain, with prior knowledge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gevent.event import Event

from tests.support.service import Serving, serving


class App:
    """Answers by path: `/` hello, `/echo` the request's body, `/wait` when let go, `/big?N` N bytes without a length."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = 0
        self.gone: list[str] = []
        self.let_go: Event | None = None
        """Made in the service's loop; set it there."""
        self.environ: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.begun += 1
        self.environ = environ
        path = environ["PATH_INFO"]
        try:
            found: Iterable[bytes] = getattr(self, path.strip("/") or "hello")(environ, start)
            return found
        finally:
            self.done += 1

    def hello(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]

    def echo(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        trailers = getattr(environ["wsgi.input"], "trailers", [])
        start("200 OK", [("Content-Length", str(len(body))), *(("X-Trailer", f"{name}={value}") for name, value in trailers)])
        return [body]

    def unread(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        return [b"unread"]

    def wait(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ["wsgi_proxy.connection"].on_gone(lambda: self.gone.append(environ["QUERY_STRING"]))
        if self.let_go is None:
            self.let_go = Event()
        self.let_go.wait()
        return self.hello(environ, start)

    def big(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        left = int(environ["QUERY_STRING"])
        while left:
            size = min(left, 50_000)
            yield b"x" * size
            left -= size

    def long(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [("X-Long", "x" * 40_000)])
        return [b"long"]

    def hints(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ["wsgi.early_hints"]([("Link", "</style.css>")])
        return self.hello(environ, start)

    def trailers(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ["wsgi_proxy.connection"].trailers = [("X-Sum", "12")]
        start("200 OK", [])
        return iter([b"body"])

    def empty(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("204 No Content", [("Connection", "close"), ("Keep-Alive", "timeout=5")])
        return []

    def short(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "10")])
        return [b"short"]

    def fails(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        raise RuntimeError("on purpose")

    def cut(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"begun"
        raise RuntimeError("on purpose")

    def switch(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("101 Switching Protocols", [])
        return []


@contextmanager
def serving_http2(app: Any = None, **settings: Any) -> Iterator[tuple[Serving, Any]]:
    """Serve `app`, an App where there is none, to clients that begin with HTTP/2's preface."""
    app = app or App()
    with serving(app, http2=True, **settings) as server:
        yield server, app
