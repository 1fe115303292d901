"""The head of a CGI response."""

from __future__ import annotations

import itertools
import re

import pytest

from wsgi_proxy.errors import InvalidResponse
from wsgi_proxy.gateway import end_of_head, parse_gateway_head

HEADS = [
    (b"A: b\r\n\r\n", 200, "OK", None),
    (b"A: b\n\n", 200, "OK", None),
    (b"A: b\r\n\n", 200, "OK", None),
    (b"\r\n", 200, "OK", None),
    (b"\n", 200, "OK", None),
    (b"Status: 404 Not Found\r\nA: b\r\n\r\n", 404, "Not Found", None),
    (b"STATUS:404\r\n\r\n", 404, "", None),
    (b"Status: 299 Our Own Words\n\n", 299, "Our Own Words", None),
    (b"Status: 404 One\nStatus: 500 Two\n\n", 404, "One", None),
    (b"Location: /x\r\n\r\n", 302, "Moved Temporarily", None),
    (b"Location: /x\r\nStatus: 201 Created\r\n\r\n", 201, "Created", None),
    (b"HTTP/1.1 404 Not There\r\nA: b\r\n\r\n", 200, "OK", None),
    (b"Content-Length: 7\r\n\r\n", 200, "OK", 7),
    (b"Transfer-Encoding: chunked\r\nConnection: close\r\nContent-Length: 7\r\n\r\n", 200, "OK", 7),
]


@pytest.mark.parametrize(("data", "status", "reason", "length"), HEADS)
def test_status_and_length(data: bytes, status: int, reason: str, length: int | None) -> None:
    assert end_of_head(data) == end_of_head(data + b"body\n\nmore") == len(data)
    head = parse_gateway_head(data, "GET")
    assert (head.status, head.reason, head.content_length) == (status, reason, length)
    assert not head.chunked and not head.keep_alive


def test_the_fields_keep_their_order_and_spelling() -> None:
    head = parse_gateway_head(b"Set-Cookie: a=1\nx-b:  c d \nSet-Cookie: b=2\nStatus: 200 OK\n\n", "GET")
    assert head.pairs == [("Set-Cookie", "a=1"), ("x-b", "c d"), ("Set-Cookie", "b=2"), ("Status", "200 OK")]


@pytest.mark.parametrize("data", [b"", b"A: b", b"A: b\r\n", b"A: b\r\n\r", b"A: b\r"])
def test_an_incomplete_head(data: bytes) -> None:
    assert end_of_head(data) == 0


def test_the_first_empty_line_ends_the_head() -> None:
    pattern = re.compile(rb"\A\r?\n|\n\r?\n")
    for size in range(7):
        for letters in itertools.product(b"\r\na", repeat=size):
            data = bytes(letters)
            found = pattern.search(data)
            assert end_of_head(data) == (found.end() if found else 0), data


@pytest.mark.parametrize(
    "data",
    [
        b"Status: abc\r\n\r\n",
        b"Status: 99\r\n\r\n",
        b"Status: 100 Continue\r\n\r\n",
        b"no colon\r\n\r\n",
        b"A: b\rc\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"Content-Length: x\r\n\r\n",
    ],
)
def test_an_invalid_head(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        parse_gateway_head(data, "GET")


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [(b"HTTP/1.1 404 Not There", 404, "Not There"), (b"HTTP/1.0 200", 200, ""), (b"HTTP/2.0 201 x", 201, "x")],
)
def test_a_status_line_where_it_is_allowed(line: bytes, status: int, reason: str) -> None:
    head = parse_gateway_head(line + b"\r\nStatus: 500 Other\r\nLocation: /x\r\n\r\n", "GET", True)
    assert (head.status, head.reason) == (status, reason)


def test_a_response_to_head_has_no_body() -> None:
    assert parse_gateway_head(b"Content-Length: 7\n\n", "HEAD").no_body
