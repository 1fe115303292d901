"""Streams and their ends: resets by either side, late frames, and the client's credit."""

from __future__ import annotations

import struct

from tests.support.frames import (
    DATA,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    FrameClient,
    fields,
    frame,
    number,
)
from tests.support.ports import wait_until
from wsgi_proxy.worker.settings import ListenerSettings

from .support import serving_http2

POST = fields(method="POST", path="/echo")
MAX_STREAMS = ListenerSettings().http2_streams


def test_rapid_reset() -> None:
    """CVE-2023-44487: a reset stream counts until its work is done, and resets run out."""
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        for stream in range(1, 2001, 2):
            client.send(frame(HEADERS, 5, stream, client.block(fields(path="/wait?x"))) + number(RST_STREAM, stream, 8))
        assert client.until(lambda found: found.kind == GOAWAY and found.code == 11) is not None
        assert app.begun <= MAX_STREAMS
        assert server.service.crew.busy <= MAX_STREAMS + 1
        server.call(lambda: app.let_go.set())
        wait_until(lambda: app.done == app.begun and server.service.crew.busy == 0, "the work's end", 60)


def test_some_requests_may_be_given_up() -> None:
    """As a browser does that leaves a page."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        for stream in range(1, 201, 2):
            client.send(frame(HEADERS, 5, stream, client.block(fields())) + number(RST_STREAM, stream, 8))
        assert client.get(201) == (200, b"hello")


def test_resets_that_the_client_provokes() -> None:
    """CVE-2025-8671 (MadeYouReset): frames that make the server reset the stream cost as much as resets."""
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        for stream in range(1, 2001, 2):
            client.send(frame(HEADERS, 5, stream, client.block(fields(path="/wait?x"))) + number(WINDOW_UPDATE, stream, 0))
        assert client.until(lambda found: found.kind == GOAWAY and found.code == 11) is not None
        assert app.begun <= MAX_STREAMS
        server.call(lambda: app.let_go.set())
        wait_until(lambda: app.done == app.begun and server.service.crew.busy == 0, "the work's end", 60)


def test_the_limit_of_streams_is_the_listeners() -> None:
    with serving_http2(http2_streams=3) as (server, app), FrameClient(server.port) as client:
        assert client.until(lambda found: found.kind == SETTINGS) is not None
        assert (3, 3) in struct.iter_unpack(">HI", client.seen[-1].payload)
        for stream in (1, 3, 5, 7):
            client.request(stream, fields(path="/wait?x"))
        assert client.outcome(7) == ("reset", 7) and app.begun == 3
        server.call(lambda: app.let_go.set())
        assert client.outcome(5) == ("response", 200)
        assert client.get(9) == (200, b"hello")


def test_late_frames_of_a_stream_that_was_reset_here() -> None:
    """RFC 9113, section 5.1: the client could not know. Its DATA is counted for the connection's window."""
    with serving_http2(lingering_timeout=0.1) as (server, _), FrameClient(server.port) as client:
        client.request(1, fields(method="POST", path="/unread"), end=False)
        assert client.outcome() == ("response", 200)
        assert client.until(lambda found: found.kind == RST_STREAM and found.stream == 1 and found.code == 0) is not None
        block = frame(DATA, 0, 1, b"x" * 16384)
        for _ in range(200):
            client.send(block)
        assert client.until(lambda found: found.kind == WINDOW_UPDATE and found.stream == 0) is not None
        client.send(frame(HEADERS, 5, 1, client.block([("x-sum", "1")])))
        assert client.get(3) == (200, b"hello")


def test_credit_grows_with_served_requests() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        for round_ in range(12):
            for stream in range(round_ * 80 + 1, round_ * 80 + 41, 2):
                client.send(frame(HEADERS, 5, stream, client.block(fields())) + number(RST_STREAM, stream, 8))
            for stream in range(round_ * 80 + 41, round_ * 80 + 81, 2):
                assert client.get(stream) == (200, b"hello")
