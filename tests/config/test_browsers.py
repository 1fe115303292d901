"""Browsers by their User-Agent. tests/differential/test_browsers.py compares them with nginx's."""

from __future__ import annotations

import pytest

from wsgi_proxy.config import is_modern, version_number


def test_versions_are_numbers() -> None:
    assert [version_number(text) for text in ("5", "5.0", "5.10", "1.2.3.4", ".5", "")] == [
        5_000_000, 5_000_000, 5_100_000, 1_020_304, 50_000, 0
    ]  # fmt: skip
    with pytest.raises(ValueError, match="5a"):
        version_number("5a")


def test_a_client_without_a_browser_is_modern_if_those_not_listed_are() -> None:
    assert not is_modern(None, (("gecko", 1),), ())
    assert is_modern(None, (("unlisted", 0),), ("x",))
