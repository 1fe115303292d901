"""nginx's notation of times, sizes and numbers, and of the values of `expires`."""

from __future__ import annotations

import pytest

from wsgi_proxy.config import parse_expires, parse_number, parse_size, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1m30s", 90), ("1d 12h", 129_600), ("500ms", 0.5), ("1y", 31_536_000), ("", None), ("1h1d", None), ("x", None)],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


def test_whole_seconds_have_no_milliseconds() -> None:
    assert parse_time("5ms", milliseconds=False) is None


@pytest.mark.parametrize(
    ("text", "units", "size"),
    [("8k", "km", 8192), ("1M", "km", 1 << 20), ("1g", "km", None), ("1g", "kmg", 1 << 30), ("", "km", None), ("-1", "km", None)],
)
def test_sizes(text: str, units: str, size: int | None) -> None:
    assert parse_size(text, units) == size


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), ("-1", None), ("", None), ("1a", None), ("9" * 19, None)])
def test_numbers(text: str, number: int | None) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "modified", "value"),
    [
        ("off", False, ("off", 0)),
        ("30d", False, ("access", 2_592_000)),
        ("-1h", False, ("access", -3600)),
        ("+1h", True, ("modified", 3600)),
        ("@24h", False, ("daily", 86_400)),
    ],
)
def test_values_of_expires(text: str, modified: bool, value: tuple[str, int]) -> None:
    assert parse_expires(text, modified) == value


@pytest.mark.parametrize(
    ("text", "modified", "message"),
    [
        ("off", True, "invalid value"),
        ("", False, "invalid value"),
        ("--1", False, "invalid value"),
        ("@1h", True, 'daily time cannot be used with "modified" parameter'),
        ("@25h", False, "daily time value must be less than 24 hours"),
    ],
)
def test_values_that_expires_refuses(text: str, modified: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_expires(text, modified)
