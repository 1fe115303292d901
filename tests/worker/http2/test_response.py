"""Responses as frames: ends, lengths, fields, interim responses and trailers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.frames import DATA, END_STREAM, HEADERS, FrameClient, fields
from wsgi_proxy.worker.request.environ import FileWrapper

from .support import App, serving_http2


class Own(App):
    """Answers everything with one function's response."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.own = own

    def hello(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        found: Iterable[bytes] = self.own(start)
        return found


def ask(own: Any, method: str = "GET") -> tuple[FrameClient, list[tuple[int, int, int]]]:
    """The client, and (kind, END_STREAM, length) of each frame of the response."""
    with serving_http2(Own(own)) as (server, _), FrameClient(server.port) as client:
        client.request(1, fields(method=method))
        outcome = client.outcome()
        assert outcome[0] == "response", (outcome, server.lines)
        assert client.alive()
        return client, [(found.kind, found.flags & END_STREAM, len(found.payload)) for found in client.seen if found.stream == 1]


def test_a_response() -> None:
    def own(start: Any) -> Iterable[bytes]:
        start("404 Not Here", [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2"), ("Set-Cookie", "a=b")])
        return [b"gone"]

    client, frames = ask(own)
    (head,) = client.fields[1]
    assert head[:5] == [(":status", "404"), ("content-type", "text/plain"), ("x-a", "1"), ("x-a", "2"), ("set-cookie", "a=b")]
    assert [name for name, _ in head[5:]] == ["server", "date", "content-length"] and dict(head)["content-length"] == "4"
    assert [frame[:2] for frame in frames] == [(HEADERS, 0), (DATA, 1)] and client.bodies[1] == b"gone"


@pytest.mark.parametrize(
    ("status", "method", "length", "body"),
    [
        ("204 No Content", "GET", None, []),
        ("304 Not Modified", "GET", "5", []),
        ("200 OK", "HEAD", "5", []),
        ("200 OK", "HEAD", "5", [b"hello"]),
        ("200 OK", "GET", "0", []),
        ("200 OK", "GET", None, []),
    ],
)
def test_a_response_without_a_body_ends_with_its_headers(status: str, method: str, length: str | None, body: list[bytes]) -> None:
    def own(start: Any) -> Iterable[bytes]:
        start(status, [] if length is None else [("Content-Length", length)])
        return body

    client, frames = ask(own, method)
    assert [frame[:2] for frame in frames] == [(HEADERS, 1)]
    assert dict(client.fields[1][0]).get("content-length") == (length or ("0" if status[:3] == "200" else None))


def test_fields_of_a_connection_are_left_out() -> None:
    def own(start: Any) -> Iterable[bytes]:
        fields = [("Connection", "close"), ("Keep-Alive", "timeout=1"), ("Transfer-Encoding", "chunked"), ("Upgrade", "h2c")]
        start("200 OK", [*fields, ("Proxy-Connection", "x"), ("Date", "now"), ("Server", "mine")])
        return [b""]

    client, _ = ask(own)
    assert client.fields[1][0] == [(":status", "200"), ("date", "now"), ("server", "mine"), ("content-length", "0")]


@pytest.mark.parametrize("field", [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0b"), ("X Y", "b"), ("", "b")])
def test_a_field_that_must_not_go_out_is_a_500(field: tuple[str, str]) -> None:
    def own(start: Any) -> Iterable[bytes]:
        start("200 OK", [field])
        return [b"x"]

    client, _ = ask(own)
    assert client.status() == 500


def test_blocks_of_all_sizes() -> None:
    blocks = [b"a", b"", b"b" * 16384, b"c" * 16385, bytearray(b"d" * 9), memoryview(b"e" * 3)]

    def own(start: Any) -> Iterable[Any]:
        write = start("200 OK", [("Content-Type", "x")])
        write(b"first")
        return iter(blocks)

    client, frames = ask(own)
    assert client.bodies[1] == b"first" + b"".join(blocks)
    assert frames[-1] == (DATA, 1, 0) and all(length <= 16384 for _, _, length in frames)


def test_what_is_longer_than_was_said_is_cut() -> None:
    def own(start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "3")])
        return [b"ab", b"cd", b"ef"]

    client, frames = ask(own)
    assert client.bodies[1] == b"abc" and frames[-1] == (DATA, 1, 1)


@pytest.mark.parametrize("size", [0, 100, 60_000])
def test_files(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)

    def own(start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        return FileWrapper(path.open("rb"))

    client, _ = ask(own)
    assert client.bodies.get(1, b"") == b"x" * size and dict(client.fields[1][0])["content-length"] == str(size)


def test_early_hints() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        assert client.get(1, fields(path="/hints")) == (200, b"hello")
        assert client.fields[1][0] == [(":status", "103"), ("link", "</style.css>")]


def test_trailers() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        client.request(1, fields(path="/trailers"))
        assert client.outcome() == ("response", 200)
        assert client.fields[1][1] == [("x-sum", "12")] and client.bodies[1] == b"body"
        assert client.seen[-1].kind == HEADERS


def test_fields_that_need_more_than_one_frame() -> None:
    def own(start: Any) -> Iterable[bytes]:
        start("200 OK", [(f"X-{n}", "y" * 1000) for n in range(40)])
        return [b"x"]

    with serving_http2(Own(own)) as (server, _), FrameClient(server.port) as client:
        client.decoder.max_header_list_size = 1 << 20
        client.request(1)
        parts = []
        while not parts or not parts[-1].flags & 4:
            found = _raw(client)
            if found[0] in (HEADERS, 9):
                parts.append(found[1])
        assert len(parts) == 3 and len(client.decoder.decode(b"".join(part.payload for part in parts))) == 44


def _raw(client: FrameClient) -> tuple[int, Any]:
    """The next frame, its fields not decoded."""
    decoded, client.decoder = client.decoder, _Nothing()  # type: ignore[assignment]
    try:
        found = client.read()
    finally:
        client.decoder = decoded
    assert found is not None
    return found.kind, found


class _Nothing:
    def decode(self, data: bytes, raw: bool) -> list[Any]:
        return []
