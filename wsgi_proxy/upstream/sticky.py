"""Sessions that stay with a server (`sticky cookie`): reading the client's cookie, and writing the one that keeps it there.

Rules (ngx_http_upstream_module, `sticky`): the value is the server's `route`, else the md5 of its address and port; the cookie is
set with every answer; its attributes come in nginx's order.
"""

from __future__ import annotations

from ..config import Sticky
from ..http import format_cookie_date

_FOREVER = 10 * 365 * 86400
"""What `expires=max` is in seconds; nginx writes the end of 2037 for it."""


def cookie(header: str, name: str) -> str:
    """The value of a cookie in a Cookie field, empty when it is not there."""
    for pair in header.split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""


def set_cookie(sticky: Sticky, value: str, now: float) -> str:
    """The value of the Set-Cookie field."""
    parts = [f"{sticky.cookie}={value}"]
    if sticky.expires is not None:
        seconds = int(sticky.expires)
        if seconds == _FOREVER:
            parts += ["expires=Thu, 31-Dec-37 23:55:55 GMT", "max-age=315360000"]
        else:
            parts += [f"expires={format_cookie_date(int(now) + seconds)}", f"max-age={seconds}"]
    if sticky.domain:
        parts.append(f"domain={sticky.domain}")
    parts += sticky.flags
    if sticky.path:
        parts.append(f"path={sticky.path}")
    return "; ".join(parts)
