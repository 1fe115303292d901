"""Brotli: the responses that are compressed, their fields, and the moments at which bytes leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import BrotliSettings, GzipSettings, Location
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters import compile_filters
from wsgi_proxy.http import Pairs
from wsgi_proxy.response import Response

brotli = pytest.importorskip("brotli")
PAGE = b"<p>hello</p>" * 100


def filtered(response: Response, accepted: str = "gzip, br", settings: BrotliSettings | None = None) -> Response:
    exchange = Exchange.from_environ(environ("GET", "/", [("Host", "a"), ("Accept-Encoding", accepted)], 80))
    both = Location(brotli=settings or BrotliSettings(enabled=True), gzip=GzipSettings(enabled=True, vary=True))
    filters = compile_filters(both)
    assert filters is not None
    filters(exchange, response)
    return response


def page(status: int = 200, body: bytes = PAGE, fields: Pairs | None = None) -> Response:
    headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body))), *(fields or [])]
    return Response(status, headers, (body,), length=len(body))


def test_a_client_that_accepts_both_gets_brotli() -> None:
    response = filtered(page(fields=[("ETag", '"a"')]))
    vary = ("Vary", "Accept-Encoding")
    assert response.headers == [vary, ("Content-Type", "text/html"), ("ETag", 'W/"a"'), ("Content-Encoding", "br")]
    assert response.length is None and brotli.decompress(b"".join(response.body)) == PAGE


@pytest.mark.parametrize(("accepted", "coding"), [("gzip", "gzip"), ("br;q=0, gzip", "gzip"), ("abr", None), ("br;q=0.1", "br")])
def test_the_clients_choice(accepted: str, coding: str | None) -> None:
    assert filtered(page(), accepted).header("content-encoding") == coding


@pytest.mark.parametrize("response", [page(201), page(body=b"x" * 19), page(fields=[("Content-Encoding", "gzip")])])
def test_other_responses_stay(response: Response) -> None:
    before = response.headers.copy()
    assert filtered(response).headers == before


@pytest.mark.parametrize("length", [20, 1007, 1008, 1009, 70000])
@pytest.mark.parametrize("settings", [BrotliSettings(enabled=True, comp_level=0), BrotliSettings(enabled=True, window=10)])
def test_every_length_fits_its_window(length: int, settings: BrotliSettings) -> None:
    body = bytes(number * number % 251 for number in range(length))
    assert brotli.decompress(b"".join(filtered(page(body=body), settings=settings).body)) == body


def test_each_event_leaves_when_it_arrives() -> None:
    def events() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    coder = brotli.Decompressor()
    blocks = iter(filtered(Response(200, [("Content-Type", "text/html")], events())).body)
    assert coder.process(next(blocks)) == b"data: 1\n\n"
    assert coder.process(next(blocks)) == b"data: 2\n\n"
    assert coder.process(b"".join(blocks)) == b"" and coder.is_finished()
