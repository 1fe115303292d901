"""Responses from entries: Age, Cache-Status, parts, and missing files."""

import os

import pytest

from tests.support.caching import exchange
from wsgi_proxy.cache import response as ca
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import Entry
from wsgi_proxy.cache.storage.files import FileStorage
from wsgi_proxy.cache.storage.format import encode
from wsgi_proxy.response import FileBody

NOW = 1_700_000_000.0


@pytest.fixture
def stored(tmp_path):
    storage = FileStorage(str(tmp_path))

    def make(body):
        made = Entry(
            "k", "/", 200, "Fine", [("ETag", '"a"'), ("Accept-Ranges", "bytes")], Freshness(NOW - 10.7, 60.0), NOW - 10.7
        )
        storage.put(made.primary, encode(made, body), 60)
        return storage.load(made.primary)

    return make


def test_age_is_whole_seconds_and_never_negative(stored):
    entry = stored(b"x")
    assert ca.from_entry(exchange(), entry, NOW, "s").header("Age") == "10"
    assert ca.from_entry(exchange(), entry, NOW - 100, "s").header("Age") == "0"
    assert ca.hit_status(entry, NOW) == "wsgi-proxy; hit; ttl=49"
    assert ca.hit_status(entry, NOW + 60) == "wsgi-proxy; hit; ttl=-11"


def test_forwarding_is_told_by_rfc_9211():
    assert (
        ca.forward_status("stale", status=304, stored=True, detail="x")
        == "wsgi-proxy; fwd=stale; fwd-status=304; stored; detail=x"
    )
    assert ca.forward_status("uri-miss", collapsed=True) == "wsgi-proxy; fwd=uri-miss; collapsed"


def test_large_bodies_are_pieces_of_their_file(stored):
    body = os.urandom(100_000)
    entry = stored(body)
    response = ca.from_entry(exchange(headers=[("Range", "bytes=5-14")]), entry, NOW, "s")
    assert isinstance(response.body, FileBody) and (response.status, response.length) == (206, 10)
    assert b"".join(response.body) == body[5:15]
    response.close()


def test_a_file_that_is_gone_or_another_gives_no_answer(stored):
    entry = stored(os.urandom(100_000))
    stored(os.urandom(100_000))
    assert ca.from_entry(exchange(), entry, NOW, "s") is None
    os.unlink(entry.path)
    assert ca.from_entry(exchange(), entry, NOW, "s") is None
    # What needs no body needs no file.
    assert ca.from_entry(exchange(method="HEAD"), entry, NOW, "s").status == 200
    assert ca.from_entry(exchange(headers=[("If-None-Match", '"a"')]), entry, NOW, "s").status == 304


def test_only_forced_answers_pass_over_the_origins_conditions(stored):
    entry, x = stored(b"x"), exchange(headers=[("If-Match", '"other"')])
    assert ca.from_entry(x, entry, NOW, "s") is None
    assert ca.from_entry(x, entry, NOW, "s", forced=True).status == 200


def test_fields_are_not_shared_between_answers(stored):
    entry = stored(b"x")
    ca.from_entry(exchange(), entry, NOW, "s").headers.append(("X", "1"))
    assert ca.from_entry(exchange(), entry, NOW, "s").header("X") is None
