"""HTTP-dates (RFC 9110 section 5.6.7): read in any of their three forms, written as IMF-fixdate. Pure.

What is no date reads as None; nothing raises on foreign text, and nothing depends on the process's locale or zone.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

_MONTHS: Final = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_DAY: Final = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY: Final = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH: Final = f"({'|'.join(_MONTHS)})"
_CLOCK: Final = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)"
_IMF_FIXDATE: Final = re.compile(rf"{_DAY}, (\d\d) {_MONTH} (\d{{4}}) {_CLOCK} gmt", re.ASCII)
_RFC850: Final = re.compile(rf"{_LONG_DAY}, (\d\d)-{_MONTH}-(\d\d) {_CLOCK} gmt", re.ASCII)
_ASCTIME: Final = re.compile(rf"{_DAY} {_MONTH} (\d\d| \d) {_CLOCK} (\d{{4}})", re.ASCII)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


def parse_date(text: str, now: float) -> float | None:
    """Epoch seconds of an HTTP-date in any of its three forms, or None.

    RFC 9110 section 5.6.7, with the relaxations and bans that RFC 9111 section 4.2 asks of caches: letters in any case,
    no zone but GMT.  ``now`` settles the century of the two-digit form.
    """
    found = _parse_fixed(text)
    if found is not None:
        return found
    match = _RFC850.fullmatch(text.lower())
    if match is None:
        return None
    day, month, short_year, hour, minute, second = match.groups()
    current = _year_of(now)
    year = current - current % 100 + int(short_year)
    if year > current + 50:
        year -= 100
    return _epoch(year, _MONTHS[month], int(day), int(hour), int(minute), int(second))


@lru_cache(maxsize=512)
def _parse_fixed(text: str) -> float | None:
    lowered = text.lower()
    match = _IMF_FIXDATE.fullmatch(lowered)
    if match is not None:
        day, month, year, hour, minute, second = match.groups()
    else:
        match = _ASCTIME.fullmatch(lowered)
        if match is None:
            return None
        month, day, hour, minute, second, year = match.groups()
    return _epoch(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second))


def _epoch(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return float(days * 86400 + hour * 3600 + minute * 60 + second)


def _year_of(now: float) -> int:
    return date.fromordinal(_EPOCH_DAY + int(now // 86400)).year


_WEEKDAY_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES: Final = ("", *(name.capitalize() for name in _MONTHS))


@lru_cache(maxsize=64)
def format_date(seconds: int) -> str:
    """IMF-fixdate of whole epoch seconds, free of the process's locale."""
    days, rest = divmod(seconds, 86400)
    day = date.fromordinal(_EPOCH_DAY + days)
    return (
        f"{_WEEKDAY_NAMES[day.weekday()]}, {day.day:02d} {_MONTH_NAMES[day.month]} {day.year:04d} "
        f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d} GMT"
    )
