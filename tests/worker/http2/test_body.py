"""A request's body over DATA frames: reading, waiting, ends and faults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.frames import DATA, END_STREAM, HEADERS, PING, RST_STREAM, FrameClient, fields, frame, number
from tests.support.ports import wait_until
from wsgi_proxy.errors import ClientError, ClientGone, ProxyError

from .support import App, serving_http2

POST = fields(method="POST", path="/echo")


class Reading(App):
    """Calls `read` with the body instead of echoing it, and keeps the result or the exception."""

    def __init__(self, read: Any) -> None:
        super().__init__()
        self._read = read
        self.found: Any = None

    def echo(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        try:
            self.found = self._read(environ["wsgi.input"])
        except ProxyError as error:
            self.found = error
            raise
        start("200 OK", [])
        return [b"done"]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda body: body.read(), b"one\ntwo\nthree"),
        (
            lambda body: (body.read(2), body.readline(), body.readline(2), body.readlines()),
            (b"on", b"e\n", b"tw", [b"o\n", b"three"]),
        ),
        (lambda body: list(body), [b"one\n", b"two\n", b"three"]),
        (
            lambda body: (body.begins(), body.read1(3), body.read(), body.read(), body.ended),
            (True, b"one", b"\ntwo\nthree", b"", True),
        ),
    ],
)
def test_reading(read: Any, expected: Any) -> None:
    app = Reading(read)
    with serving_http2(app) as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        for part in (b"one", b"\ntw", b"o\nthree"):
            client.send(frame(DATA, 0, 1, part))
        client.send(frame(DATA, END_STREAM, 1))
        assert client.outcome() == ("response", 200) and app.found == expected


def test_an_open_stream_has_a_body() -> None:
    """A request is served before its first byte has arrived: a streamed body reaches the upstream without delay."""
    app = Reading(lambda body: (body.begins(), body.read(), body.begins(), body.left))
    with serving_http2(app) as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        wait_until(lambda: app.begun == 1, "the call", 60)
        client.send(frame(DATA, END_STREAM, 1))
        assert client.outcome() == ("response", 200) and app.found == (True, b"", False, None)


def test_trailers() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        client.send(frame(DATA, 0, 1, b"x"))
        client.send(frame(HEADERS, 5, 1, client.block([("x-sum", "12"), ("content-length", "9"), ("x_y", "1")])))
        assert client.outcome() == ("response", 200)
        assert [pair for pair in client.fields[1][0] if pair[0] == "x-trailer"] == [("x-trailer", "x-sum=12")]


def test_100_continue() -> None:
    """Sent when the body is first read, and not where it comes by itself."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.request(1, [*POST, ("expect", "100-continue")], end=False)
        assert client.until(lambda found: found.kind == HEADERS) is not None
        assert client.fields[1] == [[(":status", "100")]] and not client.seen[-1].flags & END_STREAM
        client.send(frame(DATA, END_STREAM, 1, b"x"))
        assert client.outcome() == ("response", 200)
        client.send(frame(HEADERS, 4, 3, client.block([*POST, ("expect", "100-continue")])) + frame(DATA, END_STREAM, 3, b"x"))
        assert client.outcome(3) == ("response", 200)
        client.request(5, fields(("expect", "100-continue"), method="POST", path="/unread"), end=False)
        assert client.outcome(5) == ("response", 200) and len(client.fields[5]) == 1


def test_a_response_to_an_unread_body_waits_for_the_rest_of_the_request() -> None:
    """Some clients drop a response if a reset follows it before they have processed it."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.request(1, fields(method="POST", path="/unread"), end=False)
        assert client.outcome() == ("response", 200)
        client.send(frame(DATA, 0, 1, b"x" * 1000) + frame(DATA, END_STREAM, 1, b"x"))
        client.send(frame(PING, 0, 0, b"12345678"))
        seen = [DATA]
        while seen[-1] != PING:
            found = client.read()
            assert found is not None
            seen.append(found.kind)
        assert RST_STREAM not in seen
        assert client.get(3)[0] == 200


@pytest.mark.parametrize("size", [10, 256 * 1024])
def test_an_unread_body_that_does_not_end_is_reset(size: int) -> None:
    """After a while, and at once when the stream's window is used up: such a client is in the middle of a long upload."""
    with serving_http2(lingering_timeout=0.2 if size == 10 else 60) as (server, _), FrameClient(server.port) as client:
        client.request(1, fields(method="POST", path="/unread"), end=False)
        assert client.outcome() == ("response", 200)
        for start in range(0, size, 16384):
            client.send(frame(DATA, 0, 1, b"x" * min(16384, size - start)))
        assert client.until(lambda found: found.kind == RST_STREAM and found.stream == 1 and found.code == 0) is not None
        assert client.get(3)[0] == 200


def test_a_client_that_sends_no_more() -> None:
    app = Reading(lambda body: body.read())
    with serving_http2(app, client_body_timeout=0.2) as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        client.send(frame(DATA, 0, 1, b"x"))
        assert client.outcome() == ("response", 408)
        assert isinstance(app.found, ClientError) and app.found.status == 408


def test_a_reset_in_its_midst() -> None:
    app = Reading(lambda body: body.read())
    with serving_http2(app) as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        client.send(frame(DATA, 0, 1, b"x") + number(RST_STREAM, 1, 8))
        wait_until(lambda: app.found is not None, "the fault", 60)
        assert isinstance(app.found, ClientGone)


@pytest.mark.parametrize("length", ["0", "3", "9"])
def test_another_length_than_was_said(length: str) -> None:
    app = Reading(lambda body: body.read())
    with serving_http2(app) as (server, _), FrameClient(server.port) as client:
        client.request(1, [*POST, ("content-length", length)], end=False)
        client.send(frame(DATA, END_STREAM, 1, b"hello"))
        assert client.outcome() == ("response", 400) and client.outcome() == ("reset", 1)
        assert client.alive() and (app.found is None or isinstance(app.found, ClientError))


def test_a_length_of_nothing_needs_no_wait() -> None:
    """The application runs before the end of the stream has arrived, as with nginx."""
    app = Reading(lambda body: body.read())
    with serving_http2(app) as (server, _), FrameClient(server.port) as client:
        client.request(1, [*POST, ("content-length", "0")], end=False)
        wait_until(lambda: app.begun == 1, "the call", 60)
        client.send(frame(DATA, END_STREAM, 1))
        assert client.outcome() == ("response", 200)


def test_waiting_for_the_body_or_another_descriptor() -> None:
    import socket

    here, there = socket.socketpair()

    def read(body: Any) -> Any:
        found = [body.wait(here.fileno())]
        here.recv(1)
        found.append(body.wait(here.fileno()))
        return [*found, body.read()]

    app = Reading(read)
    with serving_http2(app) as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        wait_until(lambda: app.begun == 1, "the request", 60)
        there.send(b"!")
        assert client.alive()
        client.send(frame(DATA, END_STREAM, 1, b"body"))
        assert client.outcome() == ("response", 200) and app.found == [False, True, b"body"]
    here.close()
    there.close()
