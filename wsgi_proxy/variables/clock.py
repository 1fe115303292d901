"""The time in the forms of variables and logs.

Rules:
- A second is formatted once per process.
- Months and days are nginx's English ones, independent of the locale.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..http import MONTHS, WEEKDAYS

if TYPE_CHECKING:
    from ..exchange import Exchange

now = time.time
_LONG_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Clock:
    """One second in the forms that variables have."""

    __slots__ = ("date_gmt", "date_local", "hour", "iso8601", "local", "second", "weekday")

    def __init__(self, second: int) -> None:
        t = time.localtime(second)
        minutes = (t.tm_gmtoff or 0) // 60
        sign = "-" if minutes < 0 else "+"
        hours, minutes = divmod(abs(minutes), 60)
        self.second = second
        self.local = (
            f"{t.tm_mday:02}/{MONTHS[t.tm_mon - 1]}/{t.tm_year}:{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
            f" {sign}{hours:02}{minutes:02}"
        )
        self.iso8601 = (
            f"{t.tm_year}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}{sign}{hours:02}:{minutes:02}"
        )
        self.date_gmt = _date(time.gmtime(second), "GMT")
        self.date_local = _date(t, t.tm_zone)
        self.hour = f"{t.tm_hour:02}"
        self.weekday = WEEKDAYS[t.tm_wday]


def _date(t: time.struct_time, zone: str) -> str:
    """Return a date in SSI's default form, `Sunday, 06-Nov-1994 08:49:37 GMT` (ngx_http_ssi_module, `timefmt`)."""
    day = f"{_LONG_WEEKDAYS[t.tm_wday]}, {t.tm_mday:02}-{MONTHS[t.tm_mon - 1]}-{t.tm_year}"
    return f"{day} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} {zone}"


_clock = Clock(0)


def clock() -> Clock:
    """Return the present second, formatted once per second and process."""
    global _clock
    second = int(now())
    current = _clock
    if current.second != second:
        current = _clock = Clock(second)
    return current


def seconds(value: float) -> str:
    """Return a time or a duration, in seconds, as nginx prints it."""
    return f"{value:.3f}" if value > 0 else "0.000"


def time_local(exchange: Exchange) -> str:
    return clock().local


def time_iso8601(exchange: Exchange) -> str:
    return clock().iso8601


def request_time(exchange: Exchange) -> str:
    """Return the seconds since the request began, up to its end if it has ended."""
    return seconds((exchange.finished_at or now()) - exchange.started)
