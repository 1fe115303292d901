"""Conditions and ranges against a stored 200."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_proxy.cache.rfc9111 import preconditions as pc
from wsgi_proxy.http.dates import format_date

NOW = 1_700_000_000.0
CHANGED = format_date(int(NOW - 100))
STORED = [("ETag", '"a"'), ("Last-Modified", CHANGED), ("Date", format_date(int(NOW - 10)))]


def select(*request, stored=STORED, status=200, method="GET", length=10):
    return pc.select(method, list(request), status, stored, length, NOW - 5, NOW)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ('"a"', pc.NOT_MODIFIED),
        ('W/"a"', pc.NOT_MODIFIED),
        ('"b", "a"', pc.NOT_MODIFIED),
        ('"b,c", "a"', pc.NOT_MODIFIED),
        ("*", pc.NOT_MODIFIED),
        ('"b"', pc.FULL),
        ("a", pc.FULL),
        ('"A"', pc.FULL),
    ],
)
def test_if_none_match(tags, kind):
    assert select(("if-none-match", tags)).kind == kind


def test_if_modified_since_counts_only_without_if_none_match():
    since = ("If-Modified-Since", CHANGED)
    assert select(since).kind == pc.NOT_MODIFIED
    assert select(since, ("If-None-Match", '"b"')).kind == pc.FULL
    assert select(("If-Modified-Since", format_date(int(NOW - 101)))).kind == pc.FULL
    assert select(("If-Modified-Since", "yesterday")).kind == pc.FULL


@pytest.mark.parametrize(("stored", "moment"), [([("Date", format_date(int(NOW - 10)))], NOW - 10), ([], NOW - 5)])
def test_without_last_modified_the_date_or_the_arrival_counts(stored, moment):
    assert select(("If-Modified-Since", format_date(int(moment))), stored=stored).kind == pc.NOT_MODIFIED
    assert select(("If-Modified-Since", format_date(int(moment - 1))), stored=stored).kind == pc.FULL


def test_conditions_apply_to_200_only():
    assert select(("If-None-Match", '"a"'), status=404).kind == pc.FULL
    assert select(("Range", "bytes=0-1"), status=404).kind == pc.FULL


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        (("If-Match", '"a"'), pc.FULL),
        (("If-Match", "*"), pc.FULL),
        (("If-Match", '"b"'), pc.FORWARD),
        (("If-Match", 'W/"a"'), pc.FORWARD),
        (("If-Unmodified-Since", CHANGED), pc.FULL),
        (("If-Unmodified-Since", format_date(int(NOW - 101))), pc.FORWARD),
        (("If-Unmodified-Since", "rubbish"), pc.FULL),
    ],
)
def test_only_the_origin_can_say_that_a_condition_failed(condition, kind):
    assert select(condition).kind == kind


def test_if_match_compares_strongly():
    weak = [("ETag", 'W/"a"')]
    assert select(("If-Match", 'W/"a"'), stored=weak).kind == pc.FORWARD
    assert select(("If-None-Match", 'W/"a"'), stored=weak).kind == pc.NOT_MODIFIED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (pc.PART, 0, 1)),
        ("bytes=2-4", (pc.PART, 2, 3)),
        ("BYTES=2-", (pc.PART, 2, 8)),
        ("bytes=2-99", (pc.PART, 2, 8)),
        ("bytes=-3", (pc.PART, 7, 3)),
        ("bytes=-99", (pc.PART, 0, 10)),
        ("bytes=10-", (pc.UNSATISFIABLE, 0, 0)),
        ("bytes=-0", (pc.UNSATISFIABLE, 0, 0)),
        ("bytes=4-2", (pc.FULL, 0, 0)),
        ("bytes=-", (pc.FULL, 0, 0)),
        ("bytes=a-b", (pc.FULL, 0, 0)),
        ("bytes=0-1,3-4", (pc.FULL, 0, 0)),
        ("lines=0-1", (pc.FULL, 0, 0)),
        ("bytes 0-1", (pc.FULL, 0, 0)),
    ],
)
def test_ranges(text, expected):
    chosen = select(("Range", text))
    assert (chosen.kind, chosen.start, chosen.count) == expected


@pytest.mark.parametrize(
    ("condition", "kind"),
    [('"a"', pc.PART), ('"b"', pc.FULL), ('W/"a"', pc.FULL), (CHANGED, pc.PART), (format_date(int(NOW)), pc.FULL), ("", pc.FULL)],
)
def test_if_range(condition, kind):
    assert select(("Range", "bytes=0-1"), ("If-Range", condition)).kind == kind


def test_ranges_need_get_and_a_known_length():
    assert select(("Range", "bytes=0-1"), method="HEAD").kind == pc.FULL
    assert select(("Range", "bytes=0-1"), length=None).kind == pc.FULL
    assert select(("Range", "bytes=0-1"), ("Range", "bytes=0-1")).kind == pc.FULL


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1200), st.integers(0, 1200))
def test_a_part_is_what_the_slice_of_the_body_is(length, first, last):
    body = bytes(n % 256 for n in range(length))
    chosen = pc.part_of([f"bytes={first}-{last}"], length)
    wanted = body[first : last + 1]
    if chosen.kind == pc.PART:
        assert body[chosen.start : chosen.start + chosen.count] == wanted != b""
    elif chosen.kind == pc.UNSATISFIABLE:
        assert first >= length
    else:
        assert last < first


def test_fields_of_what_is_not_the_whole():
    stored = [*STORED, ("Content-Type", "x"), ("Content-Length", "10"), ("X", "1")]
    assert pc.not_modified_fields(stored) == [*STORED, ("X", "1")]
    part = pc.part_fields(stored, pc.Outcome(pc.PART, 2, 3), 10)
    assert part[-2:] == [("Content-Range", "bytes 2-4/10"), ("Content-Length", "3")] and ("Content-Type", "x") in part
    assert pc.unsatisfiable_fields(stored, 10)[-2:] == [("Content-Range", "bytes */10"), ("Content-Length", "0")]
