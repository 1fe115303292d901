"""The compiler of templates: splitting text, and the expressions of texts."""

from __future__ import annotations

import ast
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.config import SourceLine
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.variables.compiler import Nodes, expression_code, parse, split, text_body


def run(body: ast.expr, **values: Any) -> Any:
    """Evaluate the expression; every name in it is one of `values`."""
    return types.FunctionType(expression_code(body), values)(None)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("a$b", [("text", "a"), ("name", "b")]),
        ("$A_1.x", [("name", "a_1"), ("text", ".x")]),
        ("${a}b", [("name", "a"), ("text", "b")]),
        ("$1$23", [("capture", "1"), ("capture", "2"), ("text", "3")]),
        ("a{b}", [("text", "a{b}")]),
    ],
)
def test_pieces(text: str, pieces: list[tuple[str, str]]) -> None:
    assert split(text, True, SourceLine()) == pieces


def test_a_log_has_no_captures() -> None:
    assert split("$1", False, SourceLine()) == [("name", "1")]


def test_a_broken_text() -> None:
    with pytest.raises(ConfigError, match="^f:3: invalid variable name"):
        split("a$", True, SourceLine("f", 3))


@given(st.text(max_size=20))
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        pieces = split(text, True, SourceLine())
    except ConfigError:
        assert "$" in text
    else:
        assert all(value for _, value in pieces)


def test_text() -> None:
    nodes: Nodes = [("text", ast.Constant("<")), ("optional", parse("nothing")), ("value", parse("word"))]
    assert run(text_body(nodes), nothing=None, word="w>") == "<w>"
