"""The lines of access logs."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.exchange import Exchange
from wsgi_proxy.logs.line import LogLine, escape_json, escape_log

VALUES = st.one_of(st.none(), st.text(alphabet='ab"\\\n\t\x7f\xe9 {}%', max_size=6))
LITERALS = st.sampled_from([("text", '"'), ("text", "a\t"), ("text", " - ")])
PARTS = st.one_of(VALUES.map(lambda value: ("value", value)), LITERALS)


def given_value(value: str | None, exchange: Exchange) -> str | None:
    return value


@given(st.lists(PARTS))
@pytest.mark.parametrize("escape", ["default", "json", "none"])
def test_a_line_is_its_texts_and_its_escaped_values(escape: str, parts: list[tuple[str, str | None]]) -> None:
    wanted = ""
    for kind, value in parts:
        if kind == "text":
            wanted += str(value)
        elif value is None:
            wanted += "-" if escape == "default" else ""
        else:
            wanted += {"default": escape_log, "json": escape_json, "none": str}[escape](value)
    getters = [partial(given_value, value) for kind, value in parts if kind == "value"]
    line = LogLine([value if kind == "text" else None for kind, value in parts], getters, escape)
    assert line.write(Exchange()) == wanted
    assert line.write(Exchange()) == wanted  # a line leaves nothing behind for the next one


@pytest.mark.parametrize("character", [chr(byte) for byte in range(256)])
def test_each_character_that_needs_an_escape_gets_one(character: str) -> None:
    default, json = (LogLine([None], [lambda x: character], escape).write(Exchange()) for escape in ("default", "json"))
    special = character in '"\\' or character < " "
    assert default == (f"\\x{ord(character):02X}" if special or character >= "\x7f" else character)
    assert (json == character) == (not special)


def test_escapes() -> None:
    assert escape_log("a b\x7f\x00") == "a b\\x7F\\x00"
    assert escape_json('\x01\t"') == '\\u0001\\t\\"'
