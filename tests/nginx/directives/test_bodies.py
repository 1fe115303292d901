"""Directives that change bodies."""

from __future__ import annotations

from tests.support.directive import faults, location


def test_texts_add_up_at_one_level_and_replace_those_around_it() -> None:
    found = location("sub_filter a $host; sub_filter b c; sub_filter_types text/css;", "sub_filter x y; sub_filter_once off;").sub
    assert [pattern.constant for pattern, _ in found.pairs] == ["a", "b"]  # type: ignore[attr-defined]
    assert (found.types, found.once) == ({"text/html", "text/css"}, False)
    assert len(location("sub_filter_once on;", "sub_filter x y;").sub.pairs) == 1


def test_faults() -> None:
    assert faults("sub_filter '' a;") == ["empty search pattern"]
    assert faults("sub_filter_once x;") == ['invalid value "x" in "sub_filter_once" directive, it must be "on" or "off"']
    assert faults("sub_filter a $none;") == ['unknown "none" variable']
