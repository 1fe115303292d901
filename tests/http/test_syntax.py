"""The syntax that both heads share: lists, lengths and names."""

from __future__ import annotations

import pytest

from wsgi_proxy.http import syntax
from wsgi_proxy.http.syntax import length_of, tokens


def test_members_of_a_list() -> None:
    assert tokens(" a ,,B,\tc") == {"a", "b", "c"}
    assert tokens("") == tokens(" , ") == frozenset()


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("0", 0),
        ("007", 7),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("9" * 20, None),
        ("", None),
        ("+5", None),
        ("5, 5", None),
    ],
)
def test_content_lengths(value: str, length: int | None) -> None:
    assert length_of(value) == length
    assert length_of("\N{ARABIC-INDIC DIGIT FIVE}") is None


def test_names_are_learnt_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, str] = {}
    meant = frozenset({"host"})
    assert (syntax.learn("HOST", names, meant), syntax.learn("X-A", names, meant)) == ("host", "")
    assert syntax.learn("X A", names, meant) is syntax.learn("", names, meant) is None
    assert names == {"HOST": "host", "X-A": ""}
    many = {str(number): "" for number in range(syntax.MAX_NAMES)}
    assert syntax.learn("Host", many, meant) == "host" and "Host" not in many
