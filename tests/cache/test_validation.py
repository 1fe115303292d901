"""Validation: a 304 or the response to a HEAD updates or drops the stored entry."""

import pytest

from tests.support.caching import FRESH, TAG, Site, location
from wsgi_proxy.errors import ConnectFailed, UpstreamError


def test_a_304_freshens_what_is_stored(site):
    site.responses((200, [*TAG, ("X", "old")], b"one"), (304, [*TAG, ("X", "new")], b""))
    site.get("/")
    site.now += 61
    again = site.get("/")
    assert (again.word, again.status, again.body, again["X"], again["Age"]) == ("REVALIDATED", 200, b"one", "new", "0")
    assert site.origin.seen[1][2]["if-none-match"] == '"a"'
    site.now += 5
    hit = site.get("/")
    assert (hit.word, hit["X"], hit["Age"]) == ("HIT", "new", "5")


def test_a_304_freshens_a_large_body_in_its_place(site, tmp_path):
    body = bytes(range(256)) * 4096
    site.responses((200, [*TAG, ("X", "0")], body), *((304, [*TAG, ("X", str(n))], b"") for n in range(1, 5)))
    site.get("/")
    for number in range(1, 5):
        site.now += 61
        site.get("/")
        hit = site.get("/")
        assert (hit.word, hit["X"], hit.body) == ("HIT", str(number), body)
    later = Site(tmp_path / "cache")
    later.now = site.now
    assert later.get("/").body == body


def test_a_new_200_replaces_what_is_stored(site):
    site.responses((200, TAG, b"one"), (200, [*FRESH, ("ETag", '"b"')], b"two"))
    site.get("/")
    site.now += 61
    assert site.get("/").body == b"two"
    assert site.get("/").word == "HIT"


def test_no_cache_answers_are_validated_each_time(site):
    site.responses((200, [("Cache-Control", "no-cache"), ("ETag", '"a"')], b"one"), (304, [("ETag", '"a"')], b""))
    site.get("/")
    assert [site.get("/").word for _ in range(3)] == ["REVALIDATED"] * 3
    assert site.fetches == 4


def test_the_clients_conditions_are_met_by_what_was_validated(site):
    site.responses((200, TAG, b"one"), (304, TAG, b""))
    site.get("/")
    site.now += 61
    got = site.get("/", headers=[("If-None-Match", '"a"')])
    assert (got.status, got.body, got.word) == (304, b"", "REVALIDATED")
    site.now += 61
    assert site.get("/", headers=[("If-None-Match", '"b"')]).status == 200


def test_a_304_about_something_else_is_not_believed(tmp_path):
    site = Site(tmp_path, background=True)
    site.responses((200, TAG, b"one"), (304, [*FRESH, ("ETag", '"b"')], b""), (200, [*FRESH, ("ETag", '"b"')], b"two"))
    site.get("/")
    site.now += 61
    assert site.get("/").body == b"two"
    assert "if-none-match" not in site.origin.seen[2][2]
    assert site.get("/").body == b"two"


def test_a_304_that_forbids_storing_ends_it(site):
    site.responses((200, TAG, b"one"), (304, [("Cache-Control", "no-store"), ("ETag", '"a"')], b""), (200, TAG, b"two"))
    site.get("/")
    site.now += 61
    assert site.get("/").body == b"one"
    assert site.get("/").body == b"two"


def test_a_304_may_set_a_cookie_for_one_client_only(site):
    site.responses((200, TAG, b"one"), (304, [*TAG, ("Set-Cookie", "me=1")], b""))
    site.get("/")
    site.now += 61
    assert site.get("/")["Set-Cookie"] == "me=1"
    assert site.get("/")["Set-Cookie"] is None


def test_a_newer_answer_that_is_not_for_us_ends_the_older(site):
    site.responses((200, TAG, b"one"), (200, [("Cache-Control", "no-store")], b"two"), ConnectFailed("down"))
    site.get("/")
    site.now += 61
    site.get("/")
    with pytest.raises(UpstreamError):
        site.get("/")


# --- conditions and ranges --------------------------------------------------------------------------------------------------


def test_a_head_answer_freshens_or_ends_what_get_stored(site):
    site.responses(
        (200, TAG, b"one"), (200, [*TAG, ("X", "1")], b"one"), (200, [*FRESH, ("ETag", '"b"')], b"one"), (200, TAG, b"new")
    )
    site.get("/")
    site.now += 61
    assert site.get("/", "HEAD").body == b""
    hit = site.get("/")
    assert (hit.word, hit["X"], hit.body) == ("HIT", "1", b"one")
    site.now += 61
    site.get("/", "HEAD")
    assert site.get("/").body == b"new"


def test_valid_counts_anew_from_a_validation(site):
    site.location = location(valid=((frozenset({200}), 2.0),))
    old = [("ETag", '"a"'), ("Age", "100")]
    site.responses((200, old, b"one"), (304, old, b""))
    site.get("/")
    site.now += 3
    assert site.get("/").word == "REVALIDATED"
    site.now += 1.9
    assert site.get("/").word == "HIT"
