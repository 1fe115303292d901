"""The fields of a stored response: those kept, those that a validation updates, and validators."""

import pytest

from wsgi_proxy.cache.rfc9111 import stored_fields as sf
from wsgi_proxy.http.dates import format_date

NOW = 1_700_000_000.0
DATE = ("Date", format_date(int(NOW)))
ETAG = ("ETag", '"a"')


def test_a_304_replaces_each_field_it_names():
    stored = [("A", "1"), ("a", "2"), ("B", "1"), ("Content-Length", "5"), ("Age", "9"), DATE]
    later = ("Date", format_date(int(NOW + 5)))
    update = [("A", "3"), ("Content-Length", "0"), ("Connection", "x"), ("X", "1"), ("C", "1"), later]
    assert sf.freshened(stored, update, NOW + 5) == [("B", "1"), ("Content-Length", "5"), ("A", "3"), ("C", "1"), later]


@pytest.mark.parametrize(
    ("stored", "update", "same"),
    [
        ([ETAG], [ETAG], True),
        ([ETAG], [("etag", 'W/"a"')], True),
        ([ETAG], [("etag", '"b"')], False),
        ([ETAG], [], True),
        ([("Last-Modified", "x")], [("Last-Modified", "y")], False),
        ([ETAG, ("Last-Modified", "x")], [ETAG, ("Last-Modified", "y")], True),
        ([ETAG, ("Content-Length", "5")], [("Content-Length", "0")], True),
    ],
)
def test_a_304_must_be_about_what_is_stored(stored, update, same):
    assert sf.matches_stored(stored, update) is same


def test_a_head_answer_must_agree_in_length_too():
    assert sf.head_matches_stored([ETAG, ("Content-Length", "5")], [ETAG, ("content-length", "5")])
    assert not sf.head_matches_stored([ETAG, ("Content-Length", "5")], [ETAG, ("content-length", "6")])
    assert not sf.head_matches_stored([ETAG], [("ETag", '"b"')])


def test_validators():
    assert sf.validators([ETAG, ("last-modified", "x")]) == [("If-None-Match", '"a"'), ("If-Modified-Since", "x")]
    assert sf.validators([DATE]) == []
