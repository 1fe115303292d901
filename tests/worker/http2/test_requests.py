"""Attacks by the frames of streams: the work that each costs and the frame that ends it; and legitimate use of these frames."""

from __future__ import annotations

import struct

import pytest

from tests.support.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    SETTINGS,
    WINDOW_UPDATE,
    FrameClient,
    fields,
    frame,
    number,
    settings,
)
from tests.support.ports import wait_until
from wsgi_proxy.worker.http2.connection import Http2Connection
from wsgi_proxy.worker.settings import ListenerSettings

from .support import serving_http2

CALM = ("goaway", 11)
POST = fields(method="POST", path="/echo")
MAX_STREAMS = ListenerSettings().http2_streams


def test_malformed_requests_run_out() -> None:
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        for stream in range(1, 2001, 2):
            client.request(stream, fields(("connection", "x")))
        assert client.until(lambda found: found.kind == GOAWAY) is not None
        assert client.seen[-1].code == 11 and app.begun == 0


def test_a_small_window_opens_when_the_body_is_read() -> None:
    with serving_http2(http2_window=10) as (server, app), FrameClient(server.port) as client:
        assert client.until(lambda found: found.kind == SETTINGS) is not None
        assert (4, 10) in struct.iter_unpack(">HI", client.seen[-1].payload)
        client.send(frame(SETTINGS, 1))
        client.request(1, POST, end=False)
        # The application waits for the body, which opens the window to its usual size.
        opened = client.until(lambda found: found.kind == WINDOW_UPDATE and found.stream == 1)
        assert opened is not None and int.from_bytes(opened.payload, "big") == 256 * 1024 - 10
        client.send(frame(DATA, END_STREAM, 1, b"b" * 16000))
        assert client.outcome() == ("response", 200)
        client.request(3, fields(method="POST", path="/wait"), end=False)
        client.send(frame(DATA, END_STREAM, 3, b"b" * 11))
        assert client.outcome(3) == ("reset", 3)
        assert app.begun


def test_a_client_that_has_not_read_the_settings_has_the_usual_window() -> None:
    with serving_http2(http2_window=10) as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        for _ in range(4):
            client.send(frame(DATA, 0, 1, b"b" * 16000))
        client.send(frame(DATA, END_STREAM, 1))
        assert client.outcome() == ("response", 200)


def test_more_streams_than_are_allowed_are_refused() -> None:
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        for stream in range(1, 2 * MAX_STREAMS + 3, 2):
            client.request(stream, fields(path="/wait?x"))
        assert client.outcome(2 * MAX_STREAMS + 1) == ("reset", 7)
        assert app.begun == MAX_STREAMS
        server.call(lambda: app.let_go.set())
        assert client.outcome(2 * MAX_STREAMS - 1) == ("response", 200)
        assert client.get(2 * MAX_STREAMS + 3) == (200, b"hello")


FLOODS = {
    "PING": frame(PING, 0, 0, bytes(8)),
    "SETTINGS": settings((4, 65535)),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)),
    "unknown frames": frame(0xEE, 0, 0, b""),
    "empty DATA": frame(DATA, 0, 1),
    "padding alone": frame(DATA, 8, 1, b"\0"),
    "WINDOW_UPDATE": number(WINDOW_UPDATE, 1, 1),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood(name: str) -> None:
    """Frames that cost the client nothing and ask for work: more than some of them end the connection."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.request(1, POST, end=False)
        for _ in range(60):
            client.send(FLOODS[name] * 1000)
        assert client.outcome(0) == CALM and client.ends()


def test_a_flood_that_does_not_read() -> None:
    """CVE-2019-9512, 9515: the output queued for such a client is bounded."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        for _ in range(200):
            client.send(FLOODS["PING"] * 1000)
        for connection in list(server.service.connections):
            assert isinstance(connection, Http2Connection) and connection._queued < 2**20


def test_a_flood_of_continuations() -> None:
    """CVE-2024-27316: the number of empty and of small ones is bounded."""
    for payload in (b"", b"\x00\x01a\x01b" * 100):
        with serving_http2() as (server, app), FrameClient(server.port) as client:
            client.send(frame(HEADERS, END_STREAM, 1, b"\x82"))
            for _ in range(2000):
                client.send(frame(CONTINUATION, 0, 1, payload))
            assert client.outcome(0) == CALM and client.ends() and not app.begun


def test_a_field_list_that_expands() -> None:
    """An HPACK bomb: one entry of 4 KB, named by one byte each."""
    bomb = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 10_000
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, client.block(fields()) + bomb[:14000]))
        assert client.outcome(0) == CALM and client.ends() and not app.begun


@pytest.mark.parametrize(
    ("more", "status"),
    [([("x", "y" * 9000)], 400), ([(f"x{n}", "y" * 4000) for n in range(10)], 400), ([("x", "y" * 8000)], 200)],
    ids=["one field", "all fields", "within the limit"],
)
def test_lists_above_the_limit_are_refused(more: list[tuple[str, str]], status: int) -> None:
    """`large_client_header_buffers`; the connection stays open."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        block = client.block(fields(*more))
        parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
        client.send(frame(HEADERS, END_STREAM | (END_HEADERS if len(parts) == 1 else 0), 1, parts[0]))
        for at, part in enumerate(parts[1:], 2):
            client.send(frame(CONTINUATION, END_HEADERS if at == len(parts) else 0, 1, part))
        assert client.outcome() == ("response", status)
        assert client.get(3) == (200, b"hello")


def test_a_target_that_is_too_long() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        assert client.get(1, fields(path="/" + "x" * 9000))[0] == 414


def test_more_than_the_windows() -> None:
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        client.request(1, fields(method="POST", path="/wait"), end=False)
        for _ in range(17):
            client.send(frame(DATA, 0, 1, b"x" * 16384))
        assert client.outcome() == ("reset", 3)
        server.call(lambda: app.let_go.set())
        assert client.get(3) == (200, b"hello")


def test_unread_bodies_fill_no_memory() -> None:
    """The connection's window is shared by all streams; unread bytes are given back when the streams end."""
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        for stream in range(1, 35, 2):
            client.request(stream, fields(method="POST", path="/wait"), end=False)
            for _ in range(16):
                client.send(frame(DATA, 0, stream, b"x" * 16384))
        assert client.outcome(0) == ("goaway", 3)
        wait_until(lambda: app.let_go is not None, "the requests", 60)
        server.call(lambda: app.let_go.set())
