"""The responses that `gzip` compresses, their fields, and the moments at which bytes leave."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import GzipSettings, Location
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters import compile_filters
from wsgi_proxy.filters.gzip import compressor_for
from wsgi_proxy.http import Pairs
from wsgi_proxy.response import Response

PAGE = b"<p>hello</p>" * 100


def filtered(response: Response, settings: GzipSettings | None = None, method: str = "GET") -> tuple[Exchange, Response]:
    exchange = Exchange.from_environ(environ(method, "/", [("Host", "a"), ("Accept-Encoding", "gzip")], 80))
    filters = compile_filters(Location(gzip=settings or GzipSettings(enabled=True)))
    assert filters is not None
    filters(exchange, response)
    return exchange, response


def page(status: int = 200, body: bytes = PAGE, fields: Pairs | None = None) -> Response:
    headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body))), *(fields or [])]
    return Response(status, headers, (body,), length=len(body))


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_page_is_compressed(status: int) -> None:
    exchange, response = filtered(page(status, fields=[("ETag", '"a"'), ("Accept-Ranges", "bytes"), ("X", "y")]))
    assert response.headers == [("Content-Type", "text/html"), ("ETag", 'W/"a"'), ("X", "y"), ("Content-Encoding", "gzip")]
    assert response.length is None
    data = b"".join(response.body)
    assert gzip.decompress(data) == PAGE
    assert exchange.gzip_sizes == (len(PAGE), len(data))


@pytest.mark.parametrize(
    "response",
    [
        page(201),
        page(206),
        page(body=b"x" * 19),
        page(fields=[("Content-Encoding", "br")]),
        Response(200, [("Content-Type", "text/plain")], (PAGE,)),
        Response(200, [], (PAGE,)),
    ],
)
def test_other_responses_stay(response: Response) -> None:
    before = response.headers.copy()
    assert filtered(response)[1].headers == before and "gzip" not in dict(before).values()


def test_the_smallest_body_and_one_without_a_length_are_compressed() -> None:
    for response in (page(body=b"x" * 20), Response(200, [("Content-Type", "text/html")], (b"x",))):
        body = b"".join(response.body)
        assert gzip.decompress(b"".join(filtered(response)[1].body)) == body


def test_vary_is_for_the_responses_that_some_clients_get_compressed() -> None:
    settings = GzipSettings(enabled=True, vary=True, http_version="1.1")
    exchange = Exchange.from_environ(environ("GET", "/", [("Host", "a")], 80))
    response, other = page(), page(201)
    filters = compile_filters(Location(gzip=settings))
    assert filters is not None
    filters(exchange, response)
    filters(exchange, other)
    assert ("Vary", "Accept-Encoding") in response.headers and response.length == len(PAGE)
    assert ("Vary", "Accept-Encoding") not in other.headers


def test_each_event_leaves_when_it_arrives() -> None:
    def events() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    coder = zlib.decompressobj(31)
    blocks = iter(filtered(Response(200, [("Content-Type", "text/html")], events()))[1].body)
    assert coder.decompress(next(blocks)) == b"data: 1\n\n"
    assert coder.decompress(next(blocks)) == b"data: 2\n\n"
    assert not coder.eof and coder.decompress(b"".join(blocks)) == b"" and coder.eof


def test_a_head_gets_the_fields_alone() -> None:
    exchange, response = filtered(page(), method="HEAD")
    assert response.header("content-encoding") == "gzip" and response.header("content-length") is None
    assert response.body == (PAGE,) and exchange.gzip_sizes is None


@pytest.mark.parametrize("length", [20, 249, 250, 251, 5000, 40000, 100000])
@pytest.mark.parametrize("settings", [GzipSettings(enabled=True, comp_level=9), GzipSettings(enabled=True, window=9, memory=1)])
def test_every_length_fits_its_window(length: int, settings: GzipSettings) -> None:
    body = bytes(number * number % 251 for number in range(length))
    assert gzip.decompress(b"".join(filtered(page(body=body), settings)[1].body)) == body


def test_other_libraries_are_used_for_their_levels_if_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    isal = pytest.importorskip("isal.isal_zlib").compressobj
    ng = pytest.importorskip("zlib_ng.zlib_ng").compressobj
    assert [compressor_for(level) for level in range(1, 10)] == [isal] * 2 + [ng] * 7
    monkeypatch.setitem(sys.modules, "isal", None)
    assert [compressor_for(level) for level in range(1, 10)] == [zlib.compressobj] + [ng] * 8
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    assert {compressor_for(level) for level in range(1, 10)} == {zlib.compressobj}


@pytest.mark.parametrize("level", range(1, 10))
def test_bodies_are_about_as_short_as_zlibs(level: int) -> None:
    body = "".join(f'{{"id": {number * 7919 % 10007}, "name": "item {number % 13}"}}, ' for number in range(3000)).encode()
    coder = zlib.compressobj(level, zlib.DEFLATED, 31)
    theirs = len(coder.compress(body) + coder.flush())
    ours = b"".join(filtered(page(body=body), GzipSettings(enabled=True, comp_level=level))[1].body)
    assert len(ours) < theirs * 1.15


@pytest.mark.parametrize("level", range(1, 10))
def test_every_level_gives_the_body(level: int) -> None:
    body = PAGE * 1000
    found = b"".join(filtered(page(body=body), GzipSettings(enabled=True, comp_level=level))[1].body)
    assert gzip.decompress(found) == body and len(found) < len(body) // 50


def test_a_location_without_filters_has_none() -> None:
    assert compile_filters(Location()) is None
