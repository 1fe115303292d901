"""The clients that get compressed responses. tests/differential/test_gzip.py compares the same fields with nginx."""

from __future__ import annotations

import re

import pytest

from tests.support.routing import Pairs, environ
from wsgi_proxy.config import GzipSettings
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters.accepting import accepts, may_compress
from wsgi_proxy.response import Response


@pytest.mark.parametrize(
    "field", "gzip GZip gzip,br br,gzip gzip;q=1 gzip;q=1.000 gzip;q=0.001 gzip;q=0.5,br gzip;".split() + ["br, gzip ; q=0.1 , x"]
)
def test_fields_that_accept(field: str) -> None:
    assert accepts(field)


@pytest.mark.parametrize(
    "field", "* x-gzip gzip2 gzi gzip;q=0 gzip;q=0.000 gzip;q=1.001 gzip;q=0.0001 gzip;q= gzip;q gzip;x=1 gzip;q=2 gzip/1".split()
)
def test_fields_that_refuse(field: str) -> None:
    assert not accepts(field)


def asked(settings: GzipSettings, fields: Pairs, response: Pairs = (), protocol: str = "HTTP/1.1") -> bool:
    exchange = Exchange.from_environ(environ("GET", "/", [("Host", "a"), ("Accept-Encoding", "gzip"), *fields], 80, protocol))
    return may_compress(exchange, settings, Response(200, list(response)))


PAST, FUTURE = "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"


@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        ("off", [], False),
        ("any", [("Expires", FUTURE)], True),
        ("expired", [], True),
        ("expired", [("Expires", PAST)], True),
        ("expired", [("Expires", FUTURE)], False),
        ("expired", [("Expires", "junk")], False),
        ("private", [("Expires", PAST)], False),
        ("expired", [("Expires", PAST), ("Date", "Thu, 01 Jan 2014 00:00:00 GMT")], False),
        ("expired", [("Cache-Control", "no-store")], False),
        ("no-store", [("Cache-Control", "max-age=1, No-Store")], True),
        ("private", [("Cache-Control", "no-store")], False),
        ("no_last_modified", [("Last-Modified", PAST)], False),
        ("no_last_modified", [("ETag", '"a"')], True),
        ("no_etag", [("ETag", '"a"')], False),
        ("auth", [("Last-Modified", PAST)], True),
    ],
)
def test_requests_of_another_proxy(words: str, fields: Pairs, expected: bool) -> None:
    assert asked(GzipSettings(proxied=frozenset(words.split())), [("Via", "1.1 x")], fields) is expected


def test_a_password_counts_for_auth() -> None:
    settings = GzipSettings(proxied=frozenset({"auth"}))
    fields = [("Expires", FUTURE)]
    assert not asked(settings, [("Via", "1.1 x")], fields)
    assert asked(settings, [("Via", "1.1 x"), ("Authorization", "Basic eA==")], fields)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", False),
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", True),
        ("Mozilla/4.0 (compatible; MSIE 5.5; x)", False),
        ("Mozilla/4.0 (compatible; MSIE 7.0; x)", True),
        ("MSIE 6.", True),
        ("curl", True),
    ],
)
def test_old_browsers(agent: str, expected: bool) -> None:
    assert asked(GzipSettings(disable_msie6=True), [("User-Agent", agent)]) is expected
    assert asked(GzipSettings(), [("User-Agent", agent)])


def test_agents_and_versions() -> None:
    settings = GzipSettings(disable=(re.compile("wget", re.IGNORECASE),))
    assert not asked(settings, [("User-Agent", "Wget/1")]) and asked(settings, [("User-Agent", "curl")])
    assert not asked(GzipSettings(), [], protocol="HTTP/1.0")
    assert asked(GzipSettings(http_version="1.0"), [], protocol="HTTP/1.0")
    assert asked(GzipSettings(), [], protocol="HTTP/2.0")
