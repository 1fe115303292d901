"""request_body: `wsgi.input` reads like a file, for every framing and every split of the bytes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.support.heads import read_request
from wsgi_proxy.errors import ClientError, ClientGone
from wsgi_proxy.worker.request.body import NO_BODY, RequestBody


class Peer:
    """A connection with `first` in its buffer that delivers `pieces` one by one, then the end or an error."""

    def __init__(self, first: bytes, pieces: list[bytes], fault: OSError | None = None) -> None:
        self.buffer = first
        self.pieces = pieces
        self.fault = fault
        self.sent: list[bytes] = []
        self.gone = False
        self.stream = self
        self.watched = 0

    def watch(self) -> None:
        self.watched += 1

    def recv(self, size: int) -> bytes:
        if not self.pieces and self.fault is not None:
            raise self.fault
        return self.pieces.pop(0) if self.pieces else b""

    def send(self, data: bytes) -> None:
        self.sent.append(data)


CONTENT = b"line one\nline two\n\nlast"
CHUNKED = b"9\r\nline one\n\r\n5;x=y\r\nline \r\n9\r\ntwo\n\nlast\r\n0\r\nX-Sum: 1\r\n\r\nGET"
LENGTH = CONTENT + b"GET"


def body_of(data: bytes, step: int, first: int = 0, fields: bytes = b"", fault: OSError | None = None) -> tuple[Any, Any]:
    framing = b"Transfer-Encoding: chunked" if b"X-Sum" in data else b"Content-Length: %d" % len(CONTENT)
    head = read_request(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n" + fields + b"\r\n")
    rest = data[first:]
    peer = Peer(data[:first], [rest[at : at + step] for at in range(0, len(rest), step)], fault)
    return RequestBody(peer, head), peer  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [CHUNKED, LENGTH], ids=["chunked", "length"])
@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("first", [0, 12])
def test_it_reads_as_a_file_does(data: bytes, step: int, first: int) -> None:
    def body() -> Any:
        return body_of(data, step, first)[0]

    def file() -> Any:
        return io.BytesIO(CONTENT)

    for way in (
        lambda f: f.read(),
        lambda f: f.read(None),
        lambda f: [f.read(5), f.read(0), f.read(100), f.read(5)],
        lambda f: f.readlines(),
        lambda f: [f.readline(), f.readline(3), f.readline(0), f.readline(), f.read(2), f.readline(), f.readline()],
        lambda f: list(f),
        lambda f: f.readlines(10),
    ):
        assert way(body()) == way(file())


@pytest.mark.parametrize("data", [CHUNKED, LENGTH], ids=["chunked", "length"])
def test_what_follows_the_body_is_given_back(data: bytes) -> None:
    for first in (0, len(data)):
        body, peer = body_of(data, 1000, first)
        assert body.ended == bool(first)
        body.read()
        assert body.ended and peer.buffer == b"GET"
    assert body_of(CHUNKED, 1000, len(CHUNKED))[0].trailers == [("X-Sum", "1")]


def test_read1_gives_what_is_there() -> None:
    body, peer = body_of(LENGTH, 4)
    assert [body.read1(3), body.read1(3), body.read1(100)] == [b"lin", b"e", b" one"]
    assert body.left == len(CONTENT) - 8 and body.received == 8


def test_continue_is_said_once_and_only_to_who_waits() -> None:
    expect = b"Expect: 100-continue\r\n"
    body, peer = body_of(LENGTH, 3, fields=expect)
    assert peer.sent == []
    body.read()
    assert peer.sent == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    body, peer = body_of(LENGTH, 3, first=1, fields=expect)
    body.read()
    assert peer.sent == []


def test_a_client_that_leaves_or_is_late() -> None:
    body, peer = body_of(LENGTH[:5], 3)
    with pytest.raises(ClientGone):
        body.read()
    assert peer.gone
    for fault, raised in ((TimeoutError(), ClientError), (ConnectionResetError(), ClientGone)):
        body, peer = body_of(LENGTH[:5], 3, fault=fault)
        with pytest.raises(raised) as caught:
            body.read()
        assert caught.value.status in (408, 499)


@pytest.mark.parametrize("first", [0, 100])
def test_a_broken_chunk_is_found_by_the_read_that_meets_it(first: int) -> None:
    broken = CHUNKED.replace(b"5;x=y", b"0x5")
    body, peer = body_of(broken, 1000, first)
    with pytest.raises(ClientError):
        body.read()


def test_discarding() -> None:
    body, peer = body_of(LENGTH, 1000)
    assert not body.discard(CONTENT[:5])
    assert body.discard(CONTENT[5:] + b"GET") and peer.buffer == b"GET"


def test_no_body() -> None:
    assert NO_BODY.read() == NO_BODY.read(5) == NO_BODY.readline() == NO_BODY.read1(1) == b""
    assert NO_BODY.readlines() == list(NO_BODY) == [] and NO_BODY.ended
