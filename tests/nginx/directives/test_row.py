"""The type of the table's rows."""

from __future__ import annotations

import pytest

from wsgi_proxy.nginx.directives.reading import Reading
from wsgi_proxy.nginx.directives.row import Bad, BadValue, Level, Row, Statement, accepted, listed, special, value


def level() -> Level:
    return Level("http", Reading({}, "/x", "/", lambda name: False))


def statement(*words: str) -> Statement:
    return Statement(words[0], list(words[1:]), "/x", 7)


@pytest.mark.parametrize(
    ("takes", "counts", "block"),
    [("NOARGS", {0}, False), ("TAKE12", {1, 2}, False), ("FLAG", {1}, False), ("1MORE", {1, 2, 3, 4, 5}, False),
     ("BLOCK NOARGS", {0}, True), ("BLOCK TAKE1", {1}, True), ("ANY", {0, 1, 2, 3, 4, 5}, False)],
)  # fmt: skip
def test_arguments_in_nginxs_words(takes: str, counts: set[int], block: bool) -> None:
    row = Row("a", "http, server", takes, lambda level, statement: None)
    assert {count for count in range(6) if count in row.counts} == counts
    assert row.opens_block is block
    assert row.places == {"http", "server"}


def test_a_value_is_set_once() -> None:
    row, where = value("a", "http", "TAKE1", "core.a", lambda level, args: args[0].upper()), level()
    row.act(where, statement("a", "x"))
    assert where.own == {"core.a": "X"} and where.seen["core.a"].line == 7
    with pytest.raises(BadValue, match="is duplicate"):
        row.act(where, statement("a", "y"))


def test_a_list_grows() -> None:
    row, where = listed("a", "http", "TAKE1", "core.a", lambda level, args: args[0]), level()
    row.act(where, statement("a", "x"))
    row.act(where, statement("a", "y"))
    assert where.own == {"core.a": ["x", "y"]}


def test_what_has_no_effect_is_checked() -> None:
    def check(level: Level, args: list[str]) -> None:
        raise Bad("wrong")

    where = level()
    accepted("a", "http", "TAKE1", "note").act(where, statement("a", "x"))
    assert where.own == {}
    with pytest.raises(Bad, match="wrong"):
        accepted("a", "http", "TAKE1", "note", check).act(where, statement("a", "x"))


def test_the_level_around() -> None:
    outer = level()
    inner = Level("server", outer.reading, outer)
    special("a", "server", "NOARGS", lambda level, statement: None)
    assert inner.outer("http") is outer and inner.outer("server") is inner and inner.outer("events") is None
