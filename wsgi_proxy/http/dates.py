"""HTTP dates (RFC 9110, section 5.6.7): read in all three formats, written as IMF-fixdate. Pure.

Rules:
- Foreign text never raises: text that is not a date reads as None.
- Nothing depends on the locale or the time zone of the process. The tables of English names are here, for every package.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NUMBERS: Final = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
_DAY: Final = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY: Final = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH: Final = f"({'|'.join(_MONTH_NUMBERS)})"
_CLOCK: Final = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)"
_IMF_FIXDATE: Final = re.compile(rf"{_DAY}, (\d\d) {_MONTH} (\d{{4}}) {_CLOCK} gmt", re.ASCII)
_RFC850: Final = re.compile(rf"{_LONG_DAY}, (\d\d)-{_MONTH}-(\d\d) {_CLOCK} gmt", re.ASCII)
_ASCTIME: Final = re.compile(rf"{_DAY} {_MONTH} (\d\d| \d) {_CLOCK} (\d{{4}})", re.ASCII)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_FULL_YEARS: Final = 2038
"""The first year that a cookie's date spells with four digits (ngx_http_cookie_time)."""


def parse_date(text: str, now: float) -> float | None:
    """Return an HTTP date as epoch seconds; None if `text` is in none of the three formats.

    Case is ignored, and GMT is the only zone (RFC 9111, section 4.2). `now`, in epoch seconds, settles the century of a
    two-digit year.
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
    return _epoch(year, _MONTH_NUMBERS[month], int(day), int(hour), int(minute), int(second))


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
    return _epoch(int(year), _MONTH_NUMBERS[month], int(day), int(hour), int(minute), int(second))


def _epoch(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return float(days * 86400 + hour * 3600 + minute * 60 + second)


def _year_of(now: float) -> int:
    return date.fromordinal(_EPOCH_DAY + int(now // 86400)).year


@lru_cache(maxsize=64)
def format_date(seconds: int) -> str:
    """Return whole epoch seconds as an IMF-fixdate.

    >>> format_date(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    day, weekday, time_of_day = _parts(seconds)
    return f"{weekday}, {day.day:02d} {MONTHS[day.month - 1]} {day.year:04d} {time_of_day} GMT"


def format_cookie_date(seconds: int) -> str:
    """Return whole epoch seconds in the format of a cookie's `expires`, as nginx writes it (ngx_http_cookie_time).

    >>> format_cookie_date(784111777), format_cookie_date(2209032000)
    ('Sun, 06-Nov-94 08:49:37 GMT', 'Sun, 01-Jan-2040 12:00:00 GMT')
    """
    day, weekday, time_of_day = _parts(seconds)
    year = f"{day.year:04d}" if day.year >= _FULL_YEARS else f"{day.year % 100:02d}"
    return f"{weekday}, {day.day:02d}-{MONTHS[day.month - 1]}-{year} {time_of_day} GMT"


def _parts(seconds: int) -> tuple[date, str, str]:
    """Return the day, the weekday's name and `hh:mm:ss` of epoch seconds, in GMT."""
    days, rest = divmod(seconds, 86400)
    day = date.fromordinal(_EPOCH_DAY + days)
    return day, WEEKDAYS[day.weekday()], f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
