"""RFC 9113 as it concerns a server: each row breaks, or uses, one of its rules; and how a connection ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Frame,
    FrameClient,
    fields,
    frame,
    number,
    settings,
)
from tests.support.ports import wait_until
from tests.support.service import Serving
from wsgi_proxy.worker.link import HEAD

from .support import App, serving_http2

PROTOCOL_ERROR, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, COMPRESSION, CALM = 1, 3, 5, 6, 9, 11
POST = fields(method="POST", path="/echo")


class Row(NamedTuple):
    """A rule of RFC 9113, a client's frames, and the outcome of stream 1 (FrameClient.outcome)."""

    section: str
    rule: str
    does: Callable[[FrameClient], Any]
    outcome: tuple[str, int]


def reset(code: int) -> tuple[str, int]:
    return "reset", code


def goaway(code: int) -> tuple[str, int]:
    return "goaway", code


OK = ("response", 200)
WIDEST = settings((4, 2**31 - 1))
LONG = [(f"x{number}", "~" * 7000) for number in range(3)]
TWO = [*POST, ("content-length", "2")]


def pieces(client: FrameClient, *data: bytes) -> None:
    client.send(b"".join(data))


def headers(
    client: FrameClient, stream: int = 1, flags: int = END_HEADERS | END_STREAM, before: bytes = b"", after: bytes = b""
) -> bytes:
    return frame(HEADERS, flags, stream, before + client.block(fields()) + after)


def split(client: FrameClient, *between: bytes, last: int = END_HEADERS) -> bytes:
    """A field block in two frames, and others between them."""
    block = client.block(fields())
    return b"".join([frame(HEADERS, END_STREAM, 1, block[:5]), *between, frame(CONTINUATION, last, 1, block[5:])])


def finished(client: FrameClient) -> None:
    """Stream 1 has ended on both sides."""
    assert client.get(1)[0] == 200


def again(client: FrameClient, data: bytes) -> None:
    finished(client)
    client.send(data)


def post(client: FrameClient, *data: bytes, pairs: list[tuple[str, str]] | None = None) -> None:
    client.request(1, pairs or POST, end=False)
    client.send(b"".join(data))


def data(payload: bytes = b"", flags: int = END_STREAM, stream: int = 1) -> bytes:
    return frame(DATA, flags, stream, payload)


ROWS = [
    Row("3.4", "a request after the preface", lambda c: c.request(1), OK),
    Row("4.1", "unknown frames are ignored", lambda c: pieces(c, frame(0xEE, 255, 5, b"x"), headers(c)), OK),
    Row("4.1", "unknown flags are ignored", lambda c: pieces(c, headers(c, flags=0xD5 & ~PADDED)), OK),
    Row("4.1", "the reserved bit is ignored", lambda c: pieces(c, headers(c, stream=0x80000001)), OK),
    Row("4.2", "a frame above the limit", lambda c: post(c, data(b"x" * 65537)), goaway(6)),
    Row("4.2", "a frame of exactly the limit", lambda c: post(c, data(b"x" * 65535)), OK),
    Row("4.2", "a large field block in one frame", lambda c: c.request(1, fields(("x", "~" * 7000), *LONG)), OK),
    Row("4.3", "a field block that is none", lambda c: c.send(frame(HEADERS, 5, 1, b"\x80")), goaway(9)),
    Row("4.3", "a truncated field block", lambda c: c.send(frame(HEADERS, 5, 1, b"\x40")), goaway(9)),
    Row("4.3.1", "a size update above the limit", lambda c: c.send(frame(HEADERS, 5, 1, b"\x3f\xe2\x1f")), goaway(9)),
    Row("5.1", "DATA on an idle stream", lambda c: c.send(data()), goaway(1)),
    Row("5.1", "RST_STREAM on an idle stream", lambda c: c.send(number(RST_STREAM, 1, 8)), goaway(1)),
    Row("5.1", "WINDOW_UPDATE on an idle stream", lambda c: c.send(number(WINDOW_UPDATE, 1, 8)), goaway(1)),
    Row("5.1", "CONTINUATION on an idle stream", lambda c: c.send(frame(CONTINUATION, 4, 1, b"\x82")), goaway(1)),
    Row("5.1", "PRIORITY on an idle stream", lambda c: pieces(c, frame(PRIORITY, 0, 1, bytes(5)), headers(c)), OK),
    Row("5.1", "DATA on a half-closed stream", lambda c: (c.request(1, fields(path="/wait")), c.send(data(b"x"))), reset(5)),
    Row("5.1", "HEADERS on a half-closed stream", lambda c: (c.request(1, fields(path="/wait")), c.request(1)), reset(5)),
    Row("5.1", "DATA on a closed stream", lambda c: again(c, data(b"x")), goaway(5)),
    Row("5.1", "HEADERS on a closed stream", lambda c: (finished(c), c.send(headers(c))), goaway(5)),
    Row("5.1", "WINDOW_UPDATE on a closed stream", lambda c: (again(c, number(WINDOW_UPDATE, 1, 9)), c.request(3)), ("end", 3)),
    Row("5.1", "RST_STREAM on a closed stream", lambda c: (again(c, number(RST_STREAM, 1, 8)), c.request(3)), ("end", 3)),
    Row("5.1", "PRIORITY on a closed stream", lambda c: (again(c, frame(PRIORITY, 0, 1, bytes(5))), c.request(3)), ("end", 3)),
    Row("5.1.1", "an even stream", lambda c: c.send(headers(c, stream=2)), goaway(1)),
    Row("5.1.1", "a stream below the last", lambda c: (c.get(5), c.send(headers(c, stream=3))), goaway(1)),
    Row("5.1.1", "HEADERS on stream 0", lambda c: c.send(headers(c, stream=0)), goaway(1)),
    Row("5.4.1", "GOAWAY names the last stream", lambda c: (c.get(1), c.send(headers(c, stream=4))), goaway(1)),
    Row("6.1", "DATA on stream 0", lambda c: c.send(data(stream=0)), goaway(1)),
    Row("6.1", "padding is left out", lambda c: post(c, data(b"\x03abc\0\0\0", END_STREAM | PADDED)), OK),
    Row("6.1", "padding of the whole frame", lambda c: post(c, data(b"\x06xxxxx\0"[:6], END_STREAM | PADDED)), goaway(1)),
    Row("6.1", "padding without its length", lambda c: post(c, data(b"", END_STREAM | PADDED)), goaway(6)),
    Row("6.2", "padded HEADERS", lambda c: c.send(headers(c, flags=13, before=b"\x02", after=b"\0\0")), OK),
    Row("6.2", "padding above HEADERS", lambda c: c.send(frame(HEADERS, 13, 1, b"\x08\x82")), goaway(1)),
    Row("6.2", "HEADERS with a priority", lambda c: c.send(headers(c, flags=37, before=bytes(5))), OK),
    Row("6.2", "HEADERS too short for it", lambda c: c.send(frame(HEADERS, 37, 1, b"\0\0\0")), goaway(6)),
    Row("6.2", "a field block in two frames", lambda c: c.send(split(c)), OK),
    Row("6.2", "PING within a field block", lambda c: c.send(split(c, frame(PING, 0, 0, bytes(8)))), goaway(1)),
    Row("6.2", "an unknown frame within it", lambda c: c.send(split(c, frame(0xEE, 0, 1, b""))), goaway(1)),
    Row("6.2", "another stream within it", lambda c: c.send(split(c, headers(c, stream=3))), goaway(1)),
    Row("6.3", "PRIORITY on stream 0", lambda c: c.send(frame(PRIORITY, 0, 0, bytes(5))), goaway(1)),
    Row("6.3", "PRIORITY of a wrong length", lambda c: c.send(frame(PRIORITY, 0, 1, bytes(4))), goaway(6)),
    Row("6.4", "RST_STREAM on stream 0", lambda c: c.send(number(RST_STREAM, 0, 8)), goaway(1)),
    Row("6.4", "RST_STREAM of a wrong length", lambda c: post(c, frame(RST_STREAM, 0, 1, bytes(3))), goaway(6)),
    Row("6.5", "SETTINGS on a stream", lambda c: c.send(frame(SETTINGS, 0, 1)), goaway(1)),
    Row("6.5", "SETTINGS of a wrong length", lambda c: c.send(frame(SETTINGS, 0, 0, bytes(5))), goaway(6)),
    Row("6.5", "an acknowledgement with settings", lambda c: c.send(frame(SETTINGS, ACK, 0, bytes(6))), goaway(6)),
    Row("6.5.2", "ENABLE_PUSH of 2", lambda c: c.send(settings((2, 2))), goaway(1)),
    Row("6.5.2", "a window above 2^31 - 1", lambda c: c.send(settings((4, 2**31))), goaway(3)),
    Row("6.5.2", "a frame size below 2^14", lambda c: c.send(settings((5, 16383))), goaway(1)),
    Row("6.5.2", "a frame size above 2^24 - 1", lambda c: c.send(settings((5, 2**24))), goaway(1)),
    Row("6.5.2", "an unknown setting is ignored", lambda c: pieces(c, settings((99, 1)), headers(c)), OK),
    Row("6.6", "PUSH_PROMISE of a client", lambda c: c.send(frame(PUSH_PROMISE, 4, 1, bytes(4) + b"\x82")), goaway(1)),
    Row("6.7", "PING on a stream", lambda c: c.send(frame(PING, 0, 1, bytes(8))), goaway(1)),
    Row("6.7", "PING of a wrong length", lambda c: c.send(frame(PING, 0, 0, bytes(7))), goaway(6)),
    Row("6.8", "GOAWAY on a stream", lambda c: c.send(frame(GOAWAY, 0, 1, bytes(8))), goaway(1)),
    Row("6.8", "GOAWAY of a wrong length", lambda c: c.send(frame(GOAWAY, 0, 0, bytes(7))), goaway(6)),
    Row("6.9", "WINDOW_UPDATE of nothing", lambda c: c.send(number(WINDOW_UPDATE, 0, 0)), goaway(1)),
    Row("6.9", "WINDOW_UPDATE of nothing on a stream", lambda c: post(c, number(WINDOW_UPDATE, 1, 0)), reset(1)),
    Row("6.9", "WINDOW_UPDATE of a wrong length", lambda c: c.send(frame(WINDOW_UPDATE, 0, 0, bytes(3))), goaway(6)),
    Row("6.9.1", "a window above 2^31 - 1", lambda c: c.send(number(WINDOW_UPDATE, 0, 2**31 - 1)), goaway(3)),
    Row("6.9.1", "a stream's window above it", lambda c: post(c, number(WINDOW_UPDATE, 1, 2**31 - 1)), reset(3)),
    Row(
        "6.9.2",
        "settings that open it too far",
        lambda c: post(c, number(WINDOW_UPDATE, 1, 9), settings((4, 2**31 - 1))),
        goaway(3),
    ),
    Row("6.10", "CONTINUATION of nothing", lambda c: (c.get(3), c.send(frame(CONTINUATION, 4, 3))), goaway(1)),
    Row("6.10", "CONTINUATION of stream 0", lambda c: c.send(frame(CONTINUATION, 4, 0)), goaway(1)),
    Row("8.1", "trailers", lambda c: post(c, data(b"x", 0), frame(HEADERS, 5, 1, c.block([("x-sum", "1")]))), OK),
    Row("8.1", "trailers without an end", lambda c: post(c, frame(HEADERS, 4, 1, c.block([("x-sum", "1")]))), reset(1)),
    Row("8.1", "a pseudo-header in trailers", lambda c: post(c, frame(HEADERS, 5, 1, c.block([(":path", "/")]))), reset(1)),
]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Serving, App]]:
    with serving_http2() as (server, app):
        yield server, app


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.section} {row.rule}" for row in ROWS])
def test_conformance(server: tuple[Serving, App], row: Row) -> None:
    with FrameClient(server[0].port) as client:
        row.does(client)
        if row.outcome == ("end", 3):
            # The frame was ignored: the next request is answered.
            assert client.outcome(3) == OK
        else:
            assert client.outcome() == row.outcome
        if row.outcome[0] == "goaway":
            assert client.ends()
        else:
            assert client.alive()
    assert not any("Traceback" in line for line in server[0].lines), server[0].lines


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + settings(), None),
        (PREFACE + frame(HEADERS, 5, 1, b"\x80"), 9),
        (PREFACE + frame(PUSH_PROMISE, 4, 1, length=100), 1),
    ],
    ids=["another preface", "broken HEADERS first", "the beginning of a PUSH_PROMISE"],
)
def test_the_preface(server: tuple[Serving, App], first: bytes, code: int | None) -> None:
    """RFC 9113, section 3.4. Other bytes than the preface are read as HTTP/1.1, and refused as such."""
    with FrameClient(server[0].port, first) as client:
        if code is None:
            data = client.sock.recv(100)
            assert data.startswith(b"HTTP/1.1 ") and b" 505 " in data or b" 400 " in data
        else:
            assert client.outcome() == ("goaway", code) and client.ends()


@pytest.mark.parametrize("first", [b"", frame(SETTINGS, ACK), number(WINDOW_UPDATE, 0, 5), frame(PING, 0, 0, bytes(8))])
def test_the_clients_settings_may_come_late(server: tuple[Serving, App], first: bytes) -> None:
    """nginx does not insist on SETTINGS as the first frame either; the defaults apply until they arrive."""
    with FrameClient(server[0].port, PREFACE + first) as client:
        assert client.get(1) == (200, b"hello")
        client.send(settings((5, 20_000)))
        assert client.get(3) == (200, b"hello")


MALFORMED = {
    "a line end in a value": fields(("x", "a\r\nb: c")),
    "NUL in a value": fields(("x", "a\0b")),
    "a colon in a name": fields(("x:y", "1")),
    "a space in a name": fields(("x y", "1")),
    "a field of the connection": fields(("transfer-encoding", "chunked")),
    "no scheme": [pair for pair in fields() if pair[0] != ":scheme"],
    "a pseudo-header behind a field": [("x", "1"), *fields()],
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("ended", [True, False])
def test_a_malformed_request_gets_400_before_the_reset(server: tuple[Serving, App], name: str, ended: bool) -> None:
    """RFC 9113, section 8.1.1. nginx answers 400 as well."""
    begun = server[1].begun
    with FrameClient(server[0].port) as client:
        client.request(1, MALFORMED[name], ended)
        assert client.outcome() == ("response", 400) and b"400 Bad Request" in client.bodies[1]
        assert client.outcome() == reset(PROTOCOL_ERROR)
        assert client.get(3) == (200, b"hello")
    assert server[1].begun == begun + 1


def test_a_length_without_a_body_is_malformed(server: tuple[Serving, App]) -> None:
    with FrameClient(server[0].port) as client:
        client.request(1, fields(("content-length", "1")))
        assert client.outcome() == ("response", 400) and client.outcome() == reset(PROTOCOL_ERROR) and client.alive()


@pytest.mark.parametrize("sent", [data(b"x"), data(b"xxx"), data(b"x", 0) + data(b"xx", 0), data(b"xx", 0) + data(b"x")])
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_body_of_another_length_is_malformed(server: tuple[Serving, App], sent: bytes, later: bool) -> None:
    """RFC 9113, section 8.1.1: more or fewer bytes than the Content-Length of 2."""
    with FrameClient(server[0].port) as client:
        begun = server[1].begun
        post(client, pairs=TWO)
        if later:
            wait_until(lambda: server[1].begun > begun, "the request", 60)
        client.send(sent)
        assert client.outcome() == ("response", 400)
        assert client.outcome() == reset(PROTOCOL_ERROR) and client.alive()


def test_the_frame_size_of_a_client(server: tuple[Serving, App]) -> None:
    """RFC 9113, section 6.5.2: 16384 bytes until the client allows more."""
    for size, first in ((0, 16384), (20_000, 20_000)):
        with FrameClient(server[0].port, PREFACE + (settings((5, size)) if size else settings())) as client:
            client.request(1, fields(path="/long"))
            assert client.outcome() == OK
            seen = [len(found.payload) for found in client.seen if found.kind in (HEADERS, CONTINUATION)]
            assert seen[0] == first and sum(seen) > 40_000 and max(seen) == first


def test_a_preface_in_pieces_and_http1_beside_it(server: tuple[Serving, App]) -> None:
    with FrameClient(server[0].port, b"") as client:
        for byte in PREFACE + settings() + headers(client):
            client.send(bytes((byte,)))
        assert client.outcome() == OK
    with FrameClient(server[0].port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") as client:
        assert client.sock.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_without_http2_the_preface_is_refused() -> None:
    with serving_http2() as _:
        pass
    from tests.support.service import serving

    with serving(App()) as server, FrameClient(server.port) as client:
        assert client.sock.recv(100).startswith(b"HTTP/1.1 505 ")


def test_settings_and_ping_are_answered(server: tuple[Serving, App]) -> None:
    with FrameClient(server[0].port) as client:
        assert client.alive()
        kinds = [(found.kind, found.flags) for found in client.seen]
        assert kinds[0] == (SETTINGS, 0) and (SETTINGS, ACK) in kinds and kinds[-1] == (PING, ACK)
        values = client.seen[0].payload
        assert {values[at + 1]: int.from_bytes(values[at + 2 : at + 6], "big") for at in range(0, len(values), 6)}[3] == 128


def test_a_smaller_table_is_acknowledged_in_the_next_block(server: tuple[Serving, App]) -> None:
    """RFC 7541, section 4.2."""
    with FrameClient(server[0].port, PREFACE + settings((1, 0))) as client:
        client.request(1)
        client.request(3)
        assert client.outcome(3) == OK
        blocks = [found.payload for found in client.seen if found.kind == HEADERS]
        assert [block[0] for block in blocks] == [0x20, 0x88]


def test_many_streams_at_once(server: tuple[Serving, App]) -> None:
    with FrameClient(server[0].port) as client:
        client.send(b"".join(headers(client, stream) for stream in range(1, 201, 2)))
        ended: list[Frame] = []
        while len(ended) < 100:
            found = client.read()
            assert found is not None
            if found.kind == DATA and found.flags & END_STREAM:
                ended.append(found)
        assert set(client.bodies.values()) == {b"hello"} and len(client.bodies) == 100


def test_the_client_says_goodbye() -> None:
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        client.request(1, fields(path="/wait"))
        wait_until(lambda: app.let_go is not None, "the request", 60)
        client.send(frame(GOAWAY, 0, 0, bytes(8)))
        assert client.alive()
        server.call(lambda: app.let_go.set())
        assert client.outcome() == OK and client.ends()


def test_draining_loses_no_request() -> None:
    """A first GOAWAY asks for no more, those on their way are taken, and the second says which was the last."""
    with serving_http2() as (server, app), FrameClient(server.port) as client:
        client.request(1, fields(path="/wait"))
        wait_until(lambda: app.let_go is not None, "the request", 60)
        server.call(server.service.drain)
        first = client.until(lambda found: found.kind == GOAWAY)
        assert first is not None and first.payload == b"\x7f\xff\xff\xff\0\0\0\0"
        client.request(3)
        assert client.outcome(3) == OK
        second = client.until(lambda found: found.kind == GOAWAY)
        assert second is not None and second.payload == b"\0\0\0\x03\0\0\0\0"
        client.request(5)
        assert client.alive() and 5 not in client.fields
        server.call(lambda: app.let_go.set())
        assert client.outcome() == OK and client.ends()
        client.sock.close()
        wait_until(lambda: not server.service.connections, "the connection's end", 60)


def test_an_idle_connection_is_told_and_closed() -> None:
    with serving_http2(keepalive_timeout=0.1) as (server, _), FrameClient(server.port) as client:
        assert client.get(1) == (200, b"hello")
        assert client.outcome() == ("goaway", 0) and client.ends()


def test_a_connection_carries_so_many_requests() -> None:
    with serving_http2(keepalive_requests=3) as (server, _), FrameClient(server.port) as client:
        client.send(b"".join(headers(client, stream) for stream in (1, 3, 5, 7)))
        found = client.until(lambda found: found.kind == GOAWAY)
        assert found is not None and found.payload == b"\0\0\0\x05\0\0\0\0"
        assert client.ends() and sorted(client.bodies) == [1, 3, 5]


def test_a_client_that_does_not_begin() -> None:
    with serving_http2(client_header_timeout=0.1) as (server, _), FrameClient(server.port, PREFACE) as client:
        assert client.ends()


def test_a_field_block_that_does_not_end() -> None:
    with serving_http2(client_header_timeout=0.1) as (server, _), FrameClient(server.port) as client:
        whole = headers(client, 3)
        first = frame(HEADERS, END_STREAM, 1, b"\x82")
        for stream, part, rest in ((1, first, frame(CONTINUATION, END_HEADERS, 1)), (3, whole[:12], whole[12:])):
            client.send(part)
            assert client.outcome(stream) == ("reset", PROTOCOL_ERROR)
            # The rest is ignored, and does not harm the next request.
            client.send(rest)
        assert client.get(5) == (200, b"hello")


def test_a_field_block_that_does_not_end_while_the_worker_ends() -> None:
    with serving_http2(client_header_timeout=0.1, keepalive_timeout=600) as (server, _), FrameClient(server.port) as client:
        client.send(headers(client)[:12])
        wait_until(lambda: any(found.state == HEAD for found in server.service.connections), "the head's beginning", 60)
        server.call(server.service.drain)
        assert client.until(lambda found: found.kind == GOAWAY and found.payload[:4] == b"\0\0\0\x01") and client.ends()


def test_the_client_leaves() -> None:
    with serving_http2() as (server, app):
        with FrameClient(server.port) as client:
            client.request(1, fields(path="/wait?1"))
            client.request(3, fields(path="/wait?2"))
            wait_until(lambda: app.begun == 2, "both requests", 60)
        wait_until(lambda: sorted(app.gone) == ["1", "2"], "both alarms", 60)
        server.call(lambda: app.let_go.set())
        wait_until(lambda: not server.service.connections and app.done == 2, "the end", 60)
        wait_until(lambda: server.service.crew.busy == 0, "the greenlets' end", 60)


def test_every_flag_is_named() -> None:
    """The table above writes flags as numbers where several are set."""
    assert END_STREAM | END_HEADERS == 5 and END_STREAM | END_HEADERS | PADDED == 13
    assert END_STREAM | END_HEADERS | WITH_PRIORITY == 37
