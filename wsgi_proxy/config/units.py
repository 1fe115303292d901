"""nginx's notation of times, sizes, numbers and of the values of `expires`, for a configuration and for values of variables.

Rules:
- A text that is not in the notation gives None; the caller words the fault. `parse_expires` raises ValueError in nginx's words.
Source: nginx's ngx_parse.c and ngx_http_headers_filter_module.c, by behaviour.
"""

from __future__ import annotations

import re

_UNITS = {
    "y": 365 * 86400.0,
    "M": 30 * 86400.0,
    "w": 7 * 86400.0,
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_RANK = {unit: rank for rank, unit in enumerate(_UNITS)}
_TIME_PART = re.compile(r"([0-9]+)(ms|[yMwdhms]?) *")
_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_LARGEST_TIME = 2**31 * 1000.0
_DAY = 86400


def parse_time(text: str, milliseconds: bool = True) -> float | None:
    """Return the seconds of nginx's time syntax (`1m30s`, `500ms`, `90`), or None. Units must be in falling order.

    >>> parse_time("1m30s")
    90.0
    """
    at, total, rank = 0, 0.0, -1
    while at < len(text):
        part = _TIME_PART.match(text, at)
        if part is None:
            return None
        number, unit = part.groups()
        if not unit and part.end() != len(text):
            return None
        if _RANK[unit or "s"] <= rank or (unit == "ms" and not milliseconds):
            return None
        rank = _RANK[unit or "s"]
        total += int(number) * _UNITS[unit or "s"]
        at = part.end()
    return total if text and total < _LARGEST_TIME else None


def parse_size(text: str, units: str = "km") -> int | None:
    """Return the bytes of nginx's size syntax (`8k`, `10M`), or None."""
    unit = text[-1:].lower()
    if unit and unit in units:
        text = text[:-1]
    else:
        unit = ""
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        return None
    return int(text) * _SIZES[unit]


def parse_number(text: str) -> int | None:
    """Return a non-negative whole number, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def parse_expires(text: str, modified: bool = False) -> tuple[str, int]:
    """Return (kind, seconds) of a value of `expires`.

    `kind` is "off", "epoch" or "max", with 0 seconds; "daily" with the seconds of a local time of day; "modified" or "access"
    with the seconds after that time, which may be negative. Raises ValueError for any other text (ngx_http_parse_expires).

    >>> parse_expires("@15h30m"), parse_expires("-1")
    (('daily', 55800), ('access', -1))
    """
    if text in ("epoch", "max", "off") and not modified:
        return text, 0
    daily = text.startswith("@")
    if daily and modified:
        raise ValueError('daily time cannot be used with "modified" parameter')
    seconds = parse_time(text[1:] if text[:1] in ("@", "+", "-") else text, milliseconds=False)
    if seconds is None:
        raise ValueError("invalid value")
    if daily and seconds > _DAY:
        raise ValueError("daily time value must be less than 24 hours")
    kind = "daily" if daily else "modified" if modified else "access"
    return kind, int(-seconds if text.startswith("-") else seconds)
