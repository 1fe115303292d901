"""Services: counted requests, hooks, ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.support.client import Client, send_raw
from tests.support.ports import wait_until
from tests.support.service import serving
from wsgi_proxy.worker.service import Hooks

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_max_requests_drains() -> None:
    with serving(hello, max_requests=3) as server, Client(server.port) as client:
        assert [client.exchange(GET).get("Connection") for _ in range(3)] == ["keep-alive", "keep-alive", "close"]
        wait_until(lambda: not server.service.connections and not server.service.listeners, "the end")


def test_draining_serves_the_queue() -> None:
    with serving(hello, max_connections=1) as server, Client(server.port) as first:
        first.exchange(GET)
        with Client(server.port) as second:
            second.send(GET)
            server.call(first.close)
            assert second.read_response().status == 200


def test_hooks() -> None:
    calls: list[Any] = []

    class Recording(Hooks):
        def before(self, connection: Any, environ: Any) -> Any:
            return connection.head.target

        def after(self, token: Any, environ: Any, response: Any) -> None:
            calls.append((token, response.status, response.sent))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fail":
            raise ValueError("fault")
        return hello(environ, start_response)

    with serving(app, hooks=Recording(active=True)) as server:
        send_raw(server.port, b"GET /good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        send_raw(server.port, b"GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        wait_until(lambda: len(calls) == 2, "both")
        assert calls[0] == ("/good", "200 OK", 5)
        assert calls[1][:2] == ("/fail", "500 Internal Server Error")
