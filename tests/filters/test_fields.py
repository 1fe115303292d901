"""The changes of fields that filters share."""

from __future__ import annotations

import pytest

from wsgi_proxy.filters import fields as fields_module
from wsgi_proxy.filters.fields import Coded, clear_length, content_type, drop, encode, has_type, meaning, vary, weaken_etag
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


def test_the_fields_of_a_coding() -> None:
    fields = [("etag", '"a"'), ("X", "y"), ("Content-Length", "3"), ("CONTENT-TYPE", "a/b"), ("Accept-Ranges", "bytes")]
    response = Response(200, [*fields, ("Vary", "X")], length=3)
    found = Coded(response)
    assert (found.type, found.length, found.coding) == ("a/b", "3", "")
    encode(response, "br")
    assert response.headers == [("etag", 'W/"a"'), ("X", "y"), ("CONTENT-TYPE", "a/b"), ("Vary", "X"), ("Content-Encoding", "br")]
    assert response.length is None and Coded(response).coding == "br" and Coded(Response(200)).type == ""
    for tag, weak in (('W/"a"', [("ETag", 'W/"a"')]), ("a", [])):
        other = Response(200, [("ETag", tag)])
        encode(other, "gzip")
        assert other.headers == [*weak, ("Content-Encoding", "gzip")]


def test_names_of_any_case_are_remembered_within_bounds() -> None:
    assert meaning("ETAG") == meaning("etag") == "etag" and meaning("X-Other") == ""
    for number in range(5000):
        assert meaning(f"X-{number}") == ""
    assert meaning("eTAG") == "etag" and len(fields_module._NAMES) <= 4096


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
