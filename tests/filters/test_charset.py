"""The character set in Content-Type and the choice of a conversion."""

from __future__ import annotations

import pytest

from tests.support.caching import Constant
from tests.support.directive import location
from wsgi_proxy.config import CharsetSettings, Location
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters import compile_filters
from wsgi_proxy.http import Pairs
from wsgi_proxy.response import Response

MAPS = "charset_map koi8-r utf-8 { C0 D18E; } charset_map koi8-r windows-1251 { C0 FE; }"
PROXY = "proxy_pass http://127.0.0.1:1;"


def passed(settings: Location, fields: Pairs, *, upstream: Pairs = (), status: int = 200, body: bytes = b"\xc0") -> Response:  # type: ignore[assignment]
    exchange, response = Exchange(), Response(status, list(fields), (body,), length=len(body))
    exchange.upstream_pairs = list(upstream)
    response.source = object()
    filters = compile_filters(settings)
    if filters is not None:
        filters(exchange, response)
    return response


def named(before: str, charset: str, status: int = 200) -> Response:
    settings = Location(charset=CharsetSettings(name=lambda x: charset))
    return passed(settings, [("X", "text/html"), ("content-type", before)], status=status)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Each as nginx 1.31 does it.
        ("text/html", "text/html; charset=utf-8"),
        ("Application/JavaScript", "Application/JavaScript; charset=utf-8"),
        ("text/html; charset=koi8-r", "text/html; charset=koi8-r"),
        ("application/json", "application/json"),
        ("image/png", "image/png"),
    ],
)
def test_charset_is_named_where_nothing_names_one(before: str, after: str) -> None:
    assert named(before, "utf-8").headers == [("X", "text/html"), ("content-type", after)]


def test_an_empty_value_and_a_constant_off_name_nothing() -> None:
    assert named("text/html", "").headers[1] == ("content-type", "text/html")
    assert named("text/html", "off").headers[1] == ("content-type", "text/html; charset=off")
    assert compile_filters(Location(charset=CharsetSettings(name=Constant("off")))) is None
    assert compile_filters(location("charset off;")) is None


def test_a_redirect_is_left_alone() -> None:
    assert named("text/html", "utf-8", 302).headers[1] == ("content-type", "text/html")


@pytest.mark.parametrize(
    ("directives", "before", "after", "body"),
    [
        ("charset utf-8; source_charset koi8-r;", "text/html", "text/html; charset=utf-8", "ю".encode()),
        ("charset windows-1251; source_charset koi8-r;", "text/html", "text/html; charset=windows-1251", b"\xfe"),
        ("charset utf-8; override_charset on;", "text/html; charset=KOI8-R", "text/html; charset=utf-8", "ю".encode()),
        ("charset utf-8;", "text/html; charset=koi8-r", "text/html; charset=koi8-r", b"\xc0"),
        ("charset utf-8; override_charset on;", "text/html; charset=UTF-8", "text/html; charset=utf-8", b"\xc0"),
        ("charset utf-8; override_charset on;", "text/html; charset=x", "text/html; charset=x", b"\xc0"),
        ("charset koi8-r; source_charset koi8-r;", "text/html", "text/html; charset=koi8-r", b"\xc0"),
        ("charset utf-8; source_charset koi8-r;", "image/png", "image/png", b"\xc0"),
        ("charset utf-8; source_charset koi8-r; charset_types *;", "image/png", "image/png; charset=utf-8", "ю".encode()),
    ],
)
def test_bodies_are_converted(directives: str, before: str, after: str, body: bytes) -> None:
    response = passed(location(directives + PROXY, MAPS), [("Content-Type", before), ("Content-Length", "1"), ("ETag", '"a"')])
    assert response.header("content-type") == after and b"".join(response.body) == body
    converted_to_utf8 = len(body) == 2
    assert (response.length is None, response.header("content-length") is None) == (converted_to_utf8, converted_to_utf8)
    assert response.header("etag") == '"a"'


def test_a_compressed_body_is_not_converted() -> None:
    fields = [("Content-Type", "text/html"), ("Content-Encoding", "gzip")]
    response = passed(location("charset utf-8; source_charset koi8-r;" + PROXY, MAPS), fields)
    assert response.headers == fields and b"".join(response.body) == b"\xc0"


def test_the_upstream_chooses(caplog: pytest.LogCaptureFixture) -> None:
    settings = location("source_charset koi8-r;" + PROXY, MAPS)
    fields = [("Content-Type", "text/html")]
    response = passed(settings, fields, upstream=[("X-Accel-Charset", "UTF-8")])
    assert response.header("content-type") == "text/html; charset=UTF-8" and b"".join(response.body) == "ю".encode()
    assert passed(settings, fields).headers == fields
    assert passed(settings, fields, upstream=[("X-Accel-Charset", "x")]).headers == fields
    assert 'unknown charset "x" to override' in caplog.text
    ignoring = location("source_charset koi8-r; proxy_ignore_headers X-Accel-Charset;" + PROXY, MAPS)
    assert passed(ignoring, fields, upstream=[("X-Accel-Charset", "UTF-8")]).headers == fields


def test_a_missing_map_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fields = [("Content-Type", "text/html; charset=iso-8859-1")]
    response = passed(location("charset utf-8; override_charset on;" + PROXY, MAPS), fields)
    assert response.headers == fields
    assert 'no "charset_map" between the charsets "iso-8859-1" and "utf-8"' in caplog.text


def test_a_location_without_character_sets_has_no_filter() -> None:
    assert compile_filters(location(PROXY)) is None and compile_filters(location("", MAPS)) is None
