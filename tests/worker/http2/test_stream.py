"""One request over its stream: the application's view, flow control, a client that leaves, and no remains."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    FrameClient,
    fields,
    frame,
    number,
    settings,
)
from tests.support.ports import wait_until
from wsgi_proxy.errors import ProxyError
from wsgi_proxy.worker.http2.stream import RequestStream

from .support import App, serving_http2


def test_the_environ() -> None:
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        more = [("x-a", "1"), ("cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2"), ("x_b", "3"), ("te", "trailers")]
        client.request(1, fields(*more, path="/?q=%20"))
        assert client.outcome() == ("response", 200)
        environ = app.environ
        assert environ["SERVER_PROTOCOL"] == "HTTP/2.0" and environ["wsgi.url_scheme"] == "http"
        assert (environ["REQUEST_METHOD"], environ["RAW_URI"], environ["QUERY_STRING"]) == ("GET", "/?q=%20", "q=%20")
        assert (environ["HTTP_HOST"], environ["HTTP_X_A"], environ["HTTP_COOKIE"]) == ("a.example", "1, 2", "a=1; b=2")
        assert "HTTP_X_B" not in environ and "gunicorn.socket" not in environ
        assert environ["wsgi_proxy.pairs"] == [
            ("host", "a.example"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x_b", "3"),
            ("te", "trailers"),
            ("cookie", "a=1; b=2"),
        ]
        connection = environ["wsgi_proxy.connection"]
        assert isinstance(connection, RequestStream) and connection.requests == 1 and not connection.can_take_over
        with pytest.raises(ProxyError):
            connection.take_over()
        client.request(3)
        assert client.outcome(3) == ("response", 200) and app.environ["wsgi_proxy.connection"].requests == 2


@pytest.mark.parametrize("window", [1, 7, 65535, 2**20])
def test_a_response_within_the_client_s_windows(window: int) -> None:
    """No byte is sent beyond a window, and every byte comes."""
    size = 40 if window < 100 else 300_000
    with serving_http2() as (server, _), FrameClient(server.port, PREFACE + settings((4, window))) as client:
        client.request(1, fields(path=f"/big?{size}"))
        granted, got = window, 0
        connection_granted = 65535
        while True:
            found = client.read()
            assert found is not None
            if found.kind != DATA:
                continue
            got += len(found.payload)
            assert got <= granted and got <= connection_granted
            if found.flags & END_STREAM:
                break
            if got == granted:
                granted += window
                client.send(number(WINDOW_UPDATE, 1, window))
            if got == connection_granted:
                connection_granted += 50_000
                client.send(number(WINDOW_UPDATE, 0, 50_000))
        assert got == size


def test_settings_change_the_windows_of_open_streams() -> None:
    """RFC 9113, section 6.9.2: a window may become negative."""
    with serving_http2() as (server, _), FrameClient(server.port, PREFACE + settings((4, 10))) as client:
        client.request(1, fields(path="/big?20"))
        assert client.until(lambda found: found.kind == DATA) is not None and client.bodies[1] == b"x" * 10
        client.send(settings((4, 5)) + number(WINDOW_UPDATE, 1, 5))
        assert client.alive() and client.bodies[1] == b"x" * 10
        client.send(settings((4, 15)))
        assert client.outcome() == ("response", 200) or client.bodies[1] == b"x" * 20


def test_a_client_that_opens_no_window() -> None:
    """A stalled stream is given up after `send_timeout`; other streams continue, and nothing is left."""
    with serving_http2(send_timeout=0.5) as (server, app):
        with FrameClient(server.port, PREFACE + settings((4, 0))) as client:
            client.request(1, fields(path="/big?100"))
            client.request(3, fields(path="/empty"))
            assert client.outcome(3) == ("response", 204)
            assert client.outcome(1) == ("reset", 8)
            assert client.alive()
        wait_until(lambda: server.service.crew.busy == 0 and not server.service.connections, "the end", 60)


def test_a_client_that_reads_nothing_costs_a_bounded_memory() -> None:
    """Windows are open and the socket is full: the queue does not grow with the streams."""
    with serving_http2(send_timeout=2) as (server, app):
        with FrameClient(server.port, PREFACE + settings((4, 2**31 - 1)) + number(WINDOW_UPDATE, 0, 2**30)) as client:
            for stream in range(1, 41, 2):
                client.request(stream, fields(path="/big?20000000"))
            wait_until(lambda: app.begun == 20, "the requests", 60)
            (connection,) = server.service.connections
            wait_until(lambda: connection.congested() or not server.service.connections, "the queue", 60)
            assert connection._queued < 2_000_000
            wait_until(lambda: not server.service.connections, "the end", 60)
        wait_until(lambda: server.service.crew.busy == 0, "the greenlets' end", 60)


def test_a_body_in_both_directions() -> None:
    body = bytes(range(256)) * 8000
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.send(number(WINDOW_UPDATE, 0, 2**24))
        client.request(1, fields(("content-length", str(len(body))), method="POST", path="/echo"), end=False)
        room = {0: 65535, 1: 262144}
        at = 0
        while at < len(body):
            size = min(16384, len(body) - at, *room.values())
            if size:
                last = at + size == len(body)
                client.send(frame(DATA, END_STREAM if last else 0, 1, body[at : at + size]))
                at += size
                room = {stream: left - size for stream, left in room.items()}
                continue
            found = client.read()
            assert found is not None
            if found.kind == WINDOW_UPDATE:
                room[found.stream] += int.from_bytes(found.payload, "big")
        client.send(number(WINDOW_UPDATE, 1, 2**24))
        assert client.outcome() == ("response", 200) and client.bodies[1] == body


def test_a_client_that_resets_is_told_of() -> None:
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        client.request(1, fields(path="/wait?1"))
        wait_until(lambda: app.begun == 1, "the request", 60)
        client.send(number(RST_STREAM, 1, 8))
        wait_until(lambda: app.gone == ["1"], "the alarm", 60)
        assert app.environ["wsgi_proxy.connection"].client_gone()
        server.call(lambda: app.let_go.set())
        assert client.get(3) == (200, b"hello") and 1 not in client.fields


def test_a_failure_is_a_500_or_a_reset() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        assert client.get(1, fields(path="/fails"))[0] == 500
        assert client.get(3, fields(path="/switch"))[0] == 500
        for stream, path in ((5, "/cut"), (7, "/short")):
            client.request(stream, fields(path=path))
            assert client.outcome(stream) == ("reset", 2)
        assert client.get(9) == (200, b"hello")


def test_requests_leave_nothing_behind() -> None:
    """No cycle: a request's objects go with its end, without the collector."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ["wsgi_proxy.connection"].on_gone(lambda: environ)
        return App().echo(environ, start)

    def streams() -> int:
        return sum(isinstance(found, RequestStream) for found in gc.get_objects())

    with serving_http2(app) as (server, _), FrameClient(server.port) as client:

        def some(first: int) -> None:
            for stream in range(first, first + 400, 2):
                client.request(stream, fields(method="POST", path="/echo"), end=False)
                client.send(frame(DATA, END_STREAM, stream, b"body"))
                assert client.outcome(stream) == ("response", 200)
            client.seen.clear()
            client.fields.clear()
            client.bodies.clear()

        some(1)
        gc.collect()
        gc.disable()
        try:
            before, held = len(gc.get_objects()), streams()
            some(401)
            assert streams() == held
            assert len(gc.get_objects()) - before < 100
        finally:
            gc.enable()


def test_a_head_comes_once() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.get(1)
        assert sum(found.kind == HEADERS for found in client.seen) == 1
