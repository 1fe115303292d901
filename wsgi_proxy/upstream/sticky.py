"""The cookie that keeps a session with its server (ngx_http_upstream_module, sticky).

Rules:
- The value is the server's `route`, else the MD5 digest of its address and port.
- Every response sets the cookie, with its attributes in nginx's order.
"""

from __future__ import annotations

from typing import Any

from ..config import Sticky
from ..http import format_cookie_date, single_line

_FOREVER = 10 * 365 * 86400
"""Seconds that stand for `expires=max`, for which nginx writes the end of 2037."""


def cookie(header: str, name: str) -> str:
    """Return the value of a cookie in a Cookie field, empty if it is not there."""
    for pair in header.split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""


def set_cookie(sticky: Sticky, value: str, now: float, exchange: Any) -> str:
    """Return the value of the Set-Cookie field for the response to an exchange."""
    parts = [f"{sticky.cookie}={value}"]
    if sticky.expires is not None:
        seconds = int(sticky.expires)
        if seconds == _FOREVER:
            parts += ["expires=Thu, 31-Dec-37 23:55:55 GMT", "max-age=315360000"]
        else:
            parts += [f"expires={format_cookie_date(int(now) + seconds)}", f"max-age={seconds}"]
    domain = sticky.domain if isinstance(sticky.domain, str) else single_line(sticky.domain(exchange))
    if domain:
        parts.append(f"domain={domain}")
    for flag in sticky.flags:
        shown = flag if isinstance(flag, str) else single_line(flag(exchange))
        if shown:
            parts.append(shown)
    if sticky.path:
        parts.append(f"path={sticky.path}")
    return "; ".join(parts)
