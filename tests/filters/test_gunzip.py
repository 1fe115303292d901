"""Decompression for clients without gzip: members, pieces, faults, and the moments at which bytes leave."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import GzipSettings, Location
from wsgi_proxy.errors import TruncatedResponse
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters import compile_filters
from wsgi_proxy.filters.gunzip import PIECE, inflated
from wsgi_proxy.http import Pairs
from wsgi_proxy.response import Response

PACKED = gzip.compress(b"hello " * 1000, mtime=0)


def filtered(response: Response, fields: Pairs, method: str = "GET", **settings: bool) -> Response:
    exchange = Exchange.from_environ(environ(method, "/", [("Host", "a"), *fields], 80))
    filters = compile_filters(Location(gzip=GzipSettings(gunzip=True, **settings)))  # type: ignore[arg-type]
    assert filters is not None
    filters(exchange, response)
    return response


def packed(status: int = 200, coding: str = "gzip") -> Response:
    fields = [("Content-Encoding", coding), ("ETag", '"a"'), ("Accept-Ranges", "bytes"), ("Content-Length", str(len(PACKED)))]
    return Response(status, fields, (PACKED,), length=len(PACKED))


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_client_without_gzip_gets_the_content(status: int) -> None:
    response = filtered(packed(status, "GZip"), [])
    assert (response.headers, response.length) == ([("ETag", 'W/"a"')], None)
    assert b"".join(response.body) == b"hello " * 1000


def test_vary_and_both_filters_at_once() -> None:
    response = filtered(packed(), [], vary=True, enabled=True)
    assert response.headers.count(("Vary", "Accept-Encoding")) == 1 and b"".join(response.body) == b"hello " * 1000


@pytest.mark.parametrize(
    ("response", "fields"),
    [(packed(), [("Accept-Encoding", "gzip")]), (packed(206), []), (packed(304), []), (packed(coding="br"), [])],
)
def test_other_responses_stay(response: Response, fields: Pairs) -> None:
    before = response.headers.copy()
    assert filtered(response, fields).headers == before


def test_a_head_gets_the_fields_alone() -> None:
    response = filtered(packed(), [], "HEAD")
    assert response.header("content-encoding") is None and response.header("content-length") is None
    assert response.body == (PACKED,)


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return iter([data[at : at + size] for at in range(0, len(data), size)])


@pytest.mark.parametrize("size", [1, 7, 10000])
def test_members_in_pieces_of_any_size(size: int) -> None:
    data = gzip.compress(b"one ") + gzip.compress(b"two ") + gzip.compress(b"")
    assert b"".join(inflated(blocks(data, size))) == b"one two "
    assert b"".join(inflated(blocks(data + b"\0" * 9, 10000))) == b"one two "


def test_a_small_body_that_grows_is_passed_on_in_pieces() -> None:
    pieces = list(inflated(iter([gzip.compress(bytes(10_000_000))])))
    assert max(map(len, pieces)) <= PIECE and sum(map(len, pieces)) == 10_000_000


@pytest.mark.parametrize(
    "data",
    [b"no gzip", PACKED[:-9], PACKED[:-1], PACKED[:50] + b"\xff" * 9],
    ids=["not gzip", "no checksum", "a byte missing", "a bad block"],
)
def test_data_that_is_broken_breaks_the_response_off(data: bytes) -> None:
    with pytest.raises(TruncatedResponse, match=r"inflate\(\) failed"):
        list(inflated(iter([data])))


def test_an_empty_body_stays_empty() -> None:
    assert list(inflated(iter([]))) == []


def test_each_event_leaves_when_it_arrives() -> None:
    coder = zlib.compressobj(wbits=31)
    events = [coder.compress(b"data: %d\n\n" % number) + coder.flush(zlib.Z_SYNC_FLUSH) for number in range(3)]
    found = inflated(iter([events[0], b"", events[1], b"", events[2], coder.flush()]))
    assert list(found) == [b"data: 0\n\n", b"", b"data: 1\n\n", b"", b"data: 2\n\n"]
