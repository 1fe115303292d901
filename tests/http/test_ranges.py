"""ranges: the Range field as nginx parses it; tests/differential/test_static.py compares the responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.http.ranges import NOT_SATISFIABLE, parse_ranges


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("bytes=0-0", [(0, 1)]), ("bytes=2-", [(2, 10)]), ("bytes=-3", [(7, 10)]), ("bytes=-30", [(0, 10)]),
        ("bytes=0-", [(0, 10)]),
        ("bytes=8-99", [(8, 10)]), ("bytes= 1 - 2 ,4-5", [(1, 3), (4, 6)]), ("bytes=20-,1-1", [(1, 2)]),
        ("BYTES=0-1", [(0, 2)]), ("lines=1-2", None), ("bytes", None), ("bytes=0-9,0-9", None),
        ("bytes=0-4,5-9", [(0, 5), (5, 10)]),
        ("bytes=10-", NOT_SATISFIABLE), ("bytes=", None), ("bytes=x", NOT_SATISFIABLE), ("bytes=1-2,", NOT_SATISFIABLE),
        ("bytes=-0", NOT_SATISFIABLE), ("bytes=5-2", NOT_SATISFIABLE), ("bytes=1-2x", NOT_SATISFIABLE),
        ("bytes=0-9223372036854775808", NOT_SATISFIABLE), ("bytes=0-9223372036854775807", [(0, 10)]),
    ],
)  # fmt: skip
def test_fields(field: str, wanted: object) -> None:
    assert parse_ranges(field, 10) == wanted


def test_more_than_allowed_is_the_whole() -> None:
    assert parse_ranges("bytes=0-0,2-2", 10, 2) == [(0, 1), (2, 3)]
    assert parse_ranges("bytes=0-0,2-2,4-4", 10, 2) is None


def test_an_empty_file_has_no_ranges() -> None:
    assert parse_ranges("bytes=0-0", 0) is None
    assert parse_ranges("bytes=5-9", 0) == NOT_SATISFIABLE


@given(st.text(alphabet="0123456789-, xb", max_size=20), st.integers(0, 50))
def test_ranges_are_inside_and_never_more_than_the_whole(text: str, size: int) -> None:
    found = parse_ranges("bytes=" + text, size)
    if isinstance(found, list):
        assert found and all(0 <= start < end <= size for start, end in found)
        assert sum(end - start for start, end in found) <= size
