"""The directives of character sets."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, location, said


def test_values_reach_the_model() -> None:
    found = location(
        "charset UTF-8; source_charset koi8-r; override_charset on; charset_types text/css;",
        "charset_map KOI8-R utf-8 { c0 D18e; 41 41; }",
    ).charset
    assert said(found.name) == "UTF-8" and said(found.source) == "koi8-r" and found.override
    assert found.types == {"text/html", "text/css"}
    (table,) = found.maps
    assert (table.source, table.target, table.pairs) == ("koi8-r", "utf-8", ((0xC0, "ю".encode()), (0x41, b"A")))
    assert found.known == {"utf-8", "koi8-r"}


def test_a_map_may_follow_its_use() -> None:
    config = http("server { charset a; source_charset b; } charset_map a b { 80 81; } charset_map a utf-8 { }")
    assert len(config.servers[0].settings.charset.maps) == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("charset_map a A { }", '"charset_map" between the same charsets "a" and "A"'),
        ("charset_map a b { } charset_map B a { }", 'duplicate "charset_map" between "B" and "a"'),
        ("charset_map a b { 100 80; }", 'invalid value "100"'),
        ("charset_map a b { 80 xy; }", 'invalid value "xy"'),
        ("charset_map a utf-8 { 80 D1; 81 F09F9880; }", 'invalid value "F09F9880"'),
        ("charset_map a b { 80; }", "invalid parameters number"),
        ("charset a; source_charset b;", 'no "charset_map" between the charsets "b" and "a"'),
        ("charset a; charset b;", '"charset" directive is duplicate'),
    ],
)
def test_faults(text: str, fault: str) -> None:
    assert faults(text)[0] == fault
