"""The clock: each form of a second is formatted once."""

from __future__ import annotations

import time

import pytest

from wsgi_proxy.variables import clock as module
from wsgi_proxy.variables.clock import Clock, clock, seconds


def test_the_clock_in_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST+5")
    time.tzset()
    try:
        shown = Clock(1600000000)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert shown.local == "13/Sep/2020:07:26:40 -0500"
    assert shown.iso8601 == "2020-09-13T07:26:40-05:00"
    assert (shown.hour, shown.weekday) == ("07", "Sun")
    assert shown.date_gmt == "Sunday, 13-Sep-2020 12:26:40 GMT"
    assert shown.date_local == "Sunday, 13-Sep-2020 07:26:40 EST"


def test_the_present_second_is_formatted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "now", lambda: 1600000000.5)
    first = clock()
    assert clock() is first
    monkeypatch.setattr(module, "now", lambda: 1600000001.0)
    assert clock() is not first


@pytest.mark.parametrize(("value", "shown"), [(0.0125, "0.013"), (12, "12.000"), (0, "0.000"), (-0.1, "0.000")])
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown
