"""`userid`: sets the cookie that tells clients apart.

Rules:
- The cookie is set for a client without a valid one, and again if `userid_mark` or `$uid_reset` asks for it.
- The body stays as it is.
Source: ngx_http_userid_module, by behaviour; `variables/userid` makes the identifiers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..config import MAX_EXPIRES
from ..http import format_cookie_date
from ..variables import user_id

if TYPE_CHECKING:
    from ..config import Location, UserIDSettings
    from ..exchange import Exchange
    from ..response import Response
    from .pipeline import Filter, Transform

_FLAGS = ("secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none")


def compile_userid(location: Location) -> Filter | None:
    """Return the filter of a location; None without `userid on` or `v1`."""
    return UserIDCookie(location.userid) if location.userid.enable in ("on", "v1") else None


class UserIDCookie:
    """The filter of one location."""

    __slots__ = ("_settings", "_tail")

    def __init__(self, settings: UserIDSettings) -> None:
        self._settings = settings
        domain = f"; domain={settings.domain}" if settings.domain else ""
        flags = [f"; {flag}" for flag in _FLAGS if flag in settings.flags]
        self._tail = f"{domain}; path={settings.path}{''.join(flags)}"

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        if exchange.subrequest:
            return None
        found = user_id(exchange)
        if found.set is not None:
            expires = ""
            if settings.expires == MAX_EXPIRES:
                expires = "; expires=Thu, 31-Dec-37 23:55:55 GMT"
            elif settings.expires:
                expires = f"; expires={format_cookie_date(int(time.time() + settings.expires))}"
            response.headers.append(("Set-Cookie", f"{settings.name}={found.value(settings)}{expires}{self._tail}"))
            if settings.p3p:
                response.headers.append(("P3P", settings.p3p))
        return None
