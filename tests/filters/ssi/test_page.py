"""Strings and conditions of Server Side Includes; test_filter compares them with nginx's."""

from __future__ import annotations

import pytest

from wsgi_proxy.filters.ssi.page import Failed, Page

VALUES = {"a": "1", "word": "Word", "empty": ""}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x", "/d/x"), ("/x", "/x"), ("$a", "/d/1"), ("/$a${word}$none.", "/1Word."), ("\\$a\\n\\\\", "/d/$a\\n\\"), ("", "/d/"),
        ("/\\\"$a\\'", "/\"1'"),
    ],
)  # fmt: skip
def test_strings(text: str, wanted: str) -> None:
    assert Page(None).string(VALUES.get, text, "/d/") == wanted


@pytest.mark.parametrize("text", ["$", "a$-", "${", "${}", "${a", "${a b}"])
def test_a_malformed_variable(text: str) -> None:
    with pytest.raises(Failed):
        Page(None).string(VALUES.get, text)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [("$a", True), ("$empty", False), ("$a = 1", True), ("$a!=1", False), ("$word = /W.r/", True), ("$word = /w/", False)],
)
def test_conditions(expression: str, wanted: bool) -> None:
    assert Page(None).holds(VALUES.get, expression) is wanted


def test_a_regular_expression_leaves_its_captures() -> None:
    page = Page(lambda exchange, name: None)
    assert page.holds(VALUES.get, "$word = /(?<first>W)(x)?/")
    assert [page.value(None, name) for name in ("0", "1", "2", "first", "FIRST")] == ["W", "W", None, "W", "W"]  # type: ignore[arg-type]
    assert not page.holds(VALUES.get, "$word = /y/") and page.value(None, "1") == "W"  # type: ignore[arg-type]
    with pytest.raises(Failed, match="unterminated"):
        page.holds(VALUES.get, "$word = /(/")
