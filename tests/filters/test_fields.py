"""The changes of fields that filters share."""

from __future__ import annotations

import pytest

from wsgi_proxy.filters.fields import clear_length, content_type, drop, has_type, vary, weaken_etag
from wsgi_proxy.response import Response


@pytest.mark.parametrize(("tag", "weak"), [('"a"', ['W/"a"']), ('W/"a"', ['W/"a"']), ("a", []), ("", [])])
def test_a_tag_becomes_weak_or_is_removed(tag: str, weak: list[str]) -> None:
    response = Response(200, [("ETag", tag), ("A", "b")])
    weaken_etag(response)
    assert response.headers == [("ETag", value) for value in weak] + [("A", "b")]


def test_a_length_that_is_cleared_takes_the_ranges_along() -> None:
    response = Response(200, [("Content-Length", "3"), ("accept-ranges", "bytes"), ("A", "b")], length=3)
    clear_length(response)
    assert (response.headers, response.length) == ([("A", "b")], None)
    drop(response, "a")
    vary(response)
    assert response.headers == [("Vary", "Accept-Encoding")]


@pytest.mark.parametrize(
    ("value", "upstream", "expected"),
    [
        ("Text/HTML", True, ("text/html", "")),
        ('text/html;  Charset="utf-8"', True, ("text/html", "utf-8")),
        ("text/html; a=b; charset=x; y=z", True, ("text/html; a=b", "x; y=z")),
        ("text/html; a=b", True, ("text/html; a=b", "")),
        ("text/html; charset=utf-8", False, ("text/html; charset=utf-8", "")),
        ("", True, ("", "")),
    ],
)
def test_types(value: str, upstream: bool, expected: tuple[str, str]) -> None:
    response = Response(200, [("content-type", value)])
    response.source = object() if upstream else None
    assert content_type(response) == expected
    assert has_type(response, None) and has_type(response, frozenset({expected[0]})) and not has_type(response, frozenset({"x"}))
