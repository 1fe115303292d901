"""response: heads of responses have one reading or are refused. Pure: no socket is opened."""

from __future__ import annotations

from itertools import product

import pytest

from wsgi_proxy.errors import InvalidResponse
from wsgi_proxy.http.response import (
    ResponseHead,
    check_partial_response,
    end_of_response_head,
    parse_response_head,
    take_response_head,
)


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", method: str = "GET") -> ResponseHead:
    return parse_response_head(b"\r\n".join([line, *fields]) + b"\r\n\r\n", method)


def test_an_answer_keeps_everything() -> None:
    head = response(b"Set-Cookie: a", b"set-cookie: b", b"X : y", b"Content-Length: 3")
    assert head.pairs == [("Set-Cookie", "a"), ("set-cookie", "b"), ("X", "y"), ("Content-Length", "3")]
    assert (head.status, head.reason, head.content_length, head.keep_alive) == (200, "OK", 3, True)
    assert not head.chunked and not head.no_body and not head.special
    assert response(b"x-accel-Redirect: /a").special


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [(b"HTTP/1.1 200", 200, ""), (b"HTTP/1.0 999 A b\xe9", 999, "A b\xe9"), (b"HTTP/1.1 100 ", 100, "")],
)
def test_status_lines(line: bytes, status: int, reason: str) -> None:
    head = response(line=line)
    assert (head.status, head.reason) == (status, reason)


@pytest.mark.parametrize(
    ("line", "fields", "keep"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 0"], True),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 0", b"Connection: x,close"], False),
        (b"HTTP/1.0 200 OK", [b"Content-Length: 0"], False),
        (b"HTTP/1.0 200 OK", [b"Content-Length: 0", b"Connection: keep-alive"], True),
        (b"HTTP/1.0 200 OK", [b"Transfer-Encoding: chunked", b"Connection: keep-alive"], False),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], True),
        (b"HTTP/1.1 200 OK", [], False),
        (b"HTTP/1.1 204 No Content", [], True),
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 9"], True),
    ],
)
def test_when_an_upstream_connection_lives_on(line: bytes, fields: list[bytes], keep: bool) -> None:
    assert response(*fields, line=line).keep_alive is keep


def test_answers_without_a_body() -> None:
    for head in (
        response(b"Content-Length: 5", method="HEAD"),
        response(b"Content-Length: 5", line=b"HTTP/1.1 204 x"),
        response(b"Content-Length: 5", line=b"HTTP/1.1 304 x"),
        response(b"Content-Length: 5", line=b"HTTP/1.1 103 x"),
    ):
        assert head.no_body and head.content_length == 5 and head.keep_alive
    assert response(method="CONNECT").no_body
    assert not response().no_body


BAD_RESPONSES: dict[str, bytes] = {
    "HTTP/0.9": b"hello\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "status 99": b"HTTP/1.1 099 OK\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 OK\r\n\r\n",
    "status text": b"HTTP/1.1 abc OK\r\n\r\n",
    "status negative": b"HTTP/1.1 -20 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "no space": b"HTTP/1.1 200OK\r\n\r\n",
    "NUL in reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nfoo\r\nContent-Length: 1\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 1\r\n\r\n",
    "CR CR LF": b"HTTP/1.1 200 OK\r\r\nContent-Length: 1\r\n\r\n",
    "obs-fold behind LF": b"HTTP/1.1 200 OK\nX: a\n b\n\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "NUL in value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "NUL in name": b"HTTP/1.1 200 OK\r\nX\0: b\r\n\r\n",
    "empty name": b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
    "name with space": b"HTTP/1.1 200 OK\r\nX y: b\r\n\r\n",
    "differing CL": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "equal CL": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "CL before a colon": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length : 2\r\n\r\n",
    "CL list": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    "CL plus": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
    "CL minus": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "CL empty": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    "CL huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "CL and TE": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "TE xchunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "TE identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    "TE gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "TE twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "incomplete": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_refused_answer(name: str) -> None:
    with pytest.raises(InvalidResponse):
        parse_response_head(BAD_RESPONSES[name])


LINES = b"HTTP/1.1 200 OK", b"X: a", b"Content-Length: 1"


@pytest.mark.parametrize("ends", list(product([b"\r\n", b"\n"], repeat=4)))
def test_a_lone_lf_ends_a_line(ends: tuple[bytes, ...]) -> None:
    data = b"".join(line + end for line, end in zip((*LINES, b""), ends, strict=True))
    # The body may look like an empty line, too.
    for body in (b"", b"x", b"\n\n", b"\r\n\r\n"):
        assert end_of_response_head(data + body) == len(data)
    assert [end_of_response_head(data[:size]) for size in range(len(data))] == [-1] * len(data)
    head = parse_response_head(data)
    assert (head.status, head.reason, head.content_length) == (200, "OK", 1)
    assert head.pairs == [("X", "a"), ("Content-Length", "1")]


@pytest.mark.parametrize("data", [b"S", b"HTTP/2", b"SSH-2.0", b"\x15\x03\x01"])
def test_a_partial_answer_that_cannot_become_good(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        check_partial_response(data)


def test_a_partial_answer_that_can() -> None:
    for data in (b"", b"H", b"HTTP/1", b"HTTP/1.1 200 OK\r", b"HTTP/1.1 200 OK\r\nX"):
        check_partial_response(data)


@pytest.mark.parametrize("body", [b"", b"body", b"a: b\r\n\r\nc", b"\r\n\r\n", b"\n\n", b"x" * 5000 + b"\r\n\r\n"], ids=range(6))
@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_a_head_is_taken_as_soon_as_it_is_complete(end: bytes, body: bytes) -> None:
    data = end.join([b"HTTP/1.1 200 OK", b"Date: x", b"Content-Length: 12", b"X : y", b"", b""])
    for cut in range(1, len(data)):
        assert take_response_head(data[:cut], "GET") == (None, data[:cut])
    for _ in range(2):
        head, rest = take_response_head(data + body, "GET")
        assert head is not None and rest == body
        assert head.pairs == [("Date", "x"), ("Content-Length", "12"), ("X", "y")] and head.content_length == 12


def test_a_fault_is_found_where_a_good_line_stood() -> None:
    good = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1\r\n\r\n"
    for fault in (b"Content-Length: -1", b"Content-Length", b"Content-Length: \x01", b" Content-Length: 1"):
        assert take_response_head(good, "GET")[0] is not None
        with pytest.raises(InvalidResponse):
            take_response_head(good.replace(b"Content-Length: 1", fault), "GET")
