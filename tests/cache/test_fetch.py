"""A fetch for the cache: the request that it sends, and the release of its followers in every case."""

import os

import pytest

from tests.support.caching import Site, exchange, location
from wsgi_proxy.cache.fetch import Fetch
from wsgi_proxy.errors import InvalidResponse, UpstreamTimeout
from wsgi_proxy.response import Response

FRESH = [("Cache-Control", "max-age=60")]
TAG = [*FRESH, ("ETag", '"a"')]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "cache")
    site.responses((200, TAG, b"one"))
    yield site
    site.cache.close()


def fetch_for(site, x):
    found = site.cache.lookup(x, site.plan)
    assert isinstance(found, Fetch)
    found.prepare(x)
    return found


def test_a_miss_that_fills_no_store_is_sent_as_it_is(site):
    found = fetch_for(site, exchange(headers=[("Range", "bytes=0-1"), ("Cache-Control", "no-store")]))
    assert (found.method, found.extra, found.drop_conditions) == (None, [], False)


def test_a_validation_has_our_conditions_and_not_the_clients(site):
    site.get("/")
    site.now += 61
    found = fetch_for(site, exchange(headers=[("If-None-Match", '"z"')]))
    assert (found.extra, found.drop_conditions) == ([("If-None-Match", '"a"')], True)
    found.close()
    site.location = location(revalidate=False)
    found = fetch_for(site, exchange())
    assert (found.extra, found.drop_conditions) == ([], True)
    found.close()


def test_head_is_asked_without_conditions_and_converted_where_said(site):
    site.get("/")
    site.now += 61
    found = fetch_for(site, exchange(method="HEAD"))
    assert (found.method, found.extra) == (None, [])
    found.close()
    site.location = location(convert_head=True)
    found = fetch_for(site, exchange(method="HEAD"))
    assert (found.method, found.extra) == ("GET", [("If-None-Match", '"a"')])
    found.close()


def fills(site):
    return os.listdir(site.cache.zones()[0].fills.path)


def test_closing_frees_the_fill_and_may_be_repeated(site):
    found = fetch_for(site, exchange())
    assert fills(site)
    found.close()
    found.close()
    assert not fills(site)


def test_a_body_that_is_not_read_frees_it_too(site):
    x = exchange()
    response = site.ask(x)
    response.close()
    response.close()
    assert not fills(site) and site.get("/").word == "MISS"


@pytest.mark.parametrize(
    ("words", "error", "stale"),
    [
        ({"timeout"}, UpstreamTimeout("slow"), True),
        ({"error"}, UpstreamTimeout("slow"), False),
        ({"invalid_header"}, InvalidResponse("odd"), True),
        ({"http_404"}, (404, [], b""), True),
        ({"http_404"}, (403, [], b""), False),
        ({"http_429", "http_403"}, (429, [], b""), True),
    ],
)
def test_use_stale(site, words, error, stale):
    site.location = location(use_stale=frozenset(words))
    site.get("/")
    site.now += 1000
    site.responses(error)
    if stale:
        assert site.get("/").word == "STALE"
    elif isinstance(error, Exception):
        with pytest.raises(type(error)):
            site.get("/")
    else:
        assert site.get("/").status == error[0]
    assert not fills(site)


def test_an_answer_that_we_made_ourselves_is_not_stored(site):
    """An error page or an accelerated answer: the upstream's fields say nothing of it."""
    x = exchange()
    found = fetch_for(site, x)
    x.upstream_pairs = list(TAG)
    page = Response(200, [*FRESH], (b"page",), length=4)
    page.source = object()
    assert found.store(x, page) is page and not fills(site)
    assert site.get("/").word == "MISS"


def test_a_tunnel_is_passed_through(site):
    x = exchange(headers=[("Upgrade", "websocket")])
    assert site.cache.lookup(x, site.plan) is None
    found = fetch_for(site, exchange())
    switched = Response(101)
    assert found.store(exchange(), switched) is switched and switched.headers == []
    found.close()


def test_the_upstreams_own_fields_are_stored(site):
    """The location that sends them rewrites and hides them, for its client; until then they are raw."""
    fields = [("X-Accel-Expires", "60"), ("Date", "Tue, 14 Nov 2023 22:13:20 GMT"), ("Secret", "1"), ("Connection", "x")]
    site.responses((200, fields, b"x"))
    assert site.get("/").response.raw
    hit = site.get("/")
    assert (hit.word, hit["Secret"], hit["X-Accel-Expires"], hit["Connection"]) == ("HIT", "1", "60", None)
    assert hit["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT" and hit.response.raw
