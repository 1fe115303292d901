"""Heads of requests: what was read before changes neither the meaning of a head nor later requests."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.heads import read_request
from wsgi_proxy.errors import ClientError
from wsgi_proxy.http.request import parse_request_head
from wsgi_proxy.worker.request.environ import field_keys
from wsgi_proxy.worker.request.head import Request, take_request
from wsgi_proxy.worker.settings import ListenerSettings

BLOCK = b"\r\nHost: a\r\nX-Foo: bar\r\nCookie: x\r\nCookie: y\r\n\r\n"
LINES = [
    b"GET / HTTP/1.1", b"POST /a?b=%20c HTTP/1.1", b"GET http://b/ HTTP/1.1", b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1", b"TRACE / HTTP/1.1", b"GET /# HTTP/1.1", b"GET /\t HTTP/1.1", b"GET  / HTTP/1.1", b"GET /",
    b"get / HTTP/1.1", b"GET / HTTP/1.9", b"GET / HTTP/2.0", b"GET /\x01 HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /\r HTTP/1.1",
    b"PURGE / HTTP/1.1", b"", b" / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET a HTTP/1.1", b"GET /a\nb HTTP/1.1", b"GET /\x7f HTTP/1.1",
]  # fmt: skip
BLOCKS = [
    BLOCK, b"\r\nHost: a\r\n\r\n", b"\r\n\r\n", b"\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"\r\nHost: a\r\nContent-Length: 5\r\n\r\n", b"\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"\r\nHost: a b\r\n\r\n",
    b"\r\nHost: a\r\nBad Name: 1\r\n\r\n", b"\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
]  # fmt: skip


def meaning(data: bytes, worker: bool) -> object:
    try:
        head = read_request(data) if worker else parse_request_head(data)
    except ClientError as error:
        return error.status
    keys = head.keys if isinstance(head, Request) else field_keys(head.pairs)
    return (
        head.method, head.target, head.uri, head.version, head.pairs, keys, head.keep_alive, head.content_length, head.chunked,
        head.expect_continue,
    )  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("line", [line for line in LINES if line])
def test_whatever_came_before_it_means_the_same(line: bytes, block: bytes) -> None:
    for before in (b"GET /first HTTP/1.1" + block, b"GET / HTTP/1.1\r\nHost: x\r\nCookie: z\r\nX-Foo: y\r\n\r\n", line + block):
        with suppress(ClientError):
            read_request(before)
        assert meaning(line + block, True) == meaning(line + block, False)


@given(st.binary(min_size=1, max_size=30), st.sampled_from(BLOCKS))
def test_whatever_the_request_line(line: bytes, block: bytes) -> None:
    if b"\r" not in line:
        assert meaning(line + block, True) == meaning(line + block, False)


def test_what_a_request_changes_the_next_one_does_not_see() -> None:
    for _ in range(3):
        request = read_request(b"GET / HTTP/1.1" + BLOCK)
        assert len(request.pairs) == 4
        request.pairs.clear()


def test_pipelined_requests_are_taken_one_by_one() -> None:
    first, second = b"GET /1 HTTP/1.1" + BLOCK, b"POST /2 HTTP/1.1\r\nHost: b\r\n\r\n"
    buffer = first + second + first
    targets = []
    while buffer:
        request, buffer = take_request(buffer, SETTINGS)
        assert request is not None
        targets.append((request.target, len(request.pairs)))
    assert targets == [("/1", 4), ("/2", 1), ("/1", 4)]


def test_a_body_may_end_like_a_head() -> None:
    body = b"a: b\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"
    request, rest = take_request(head + body, SETTINGS)
    assert request is not None and (request.content_length, rest) == (8, body)


SETTINGS = ListenerSettings()


def test_one_request_after_the_other() -> None:
    line, body = b"GET / HTTP/1.1" + BLOCK, b"rest"
    assert take_request(line[:-1], SETTINGS) == (None, line[:-1])
    request, rest = take_request(b"\r\n\r\n" + line + body, SETTINGS)
    assert request is not None and (request.target, rest) == ("/", body)
    assert take_request(b"\r\n\r\n", SETTINGS) == (None, b"")
    request, rest = take_request(line, SETTINGS)
    assert request is not None and rest == b""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 60 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 60, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 90 + b"\r\n\r\n", 494),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 90, 494),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1234567\r\n" * 20, 494),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n", 494),
        (b"GET / HTTP/1.1\nHost", 400),
        (b"\x16\x03\x01", 400),
    ],
)
def test_too_much_or_hopeless(data: bytes, status: int) -> None:
    settings = ListenerSettings(max_fields=3)
    settings.max_line, settings.max_field, settings.max_head = 50, 80, 200
    with pytest.raises(ClientError) as caught:
        take_request(data, settings)
    assert caught.value.status == status
