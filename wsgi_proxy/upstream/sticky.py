"""Sessions that stay with their server (ngx_http_upstream_module, sticky).

Rules:
- A server is named by its `route`, else by the MD5 digest of its address and port: in the cookie and in learned sessions.
- `cookie`: every response sets the cookie, with its attributes in nginx's order.
- `learn`: a session is known by a digest of its value, so that no cookie can be read in memory or in Redis. A use of a session
  extends its life in steps of an eighth of the timeout, so a session ends between one and 9/8 timeouts after its last use.
- A full zone of sessions drops those that end first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from ..config import Sticky, StickyLearn, StickyRoute
from ..http import format_cookie_date, single_line

if TYPE_CHECKING:
    from ..config import Template
    from ..keyval import Zone

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


class Sessions(Protocol):
    """The sessions of one pool."""

    learns: bool
    """True if responses make sessions (`learn`)."""
    early: bool
    """True if the head of a response makes one, not its end."""

    def wanted(self, exchange: Any) -> str:
        """Return the name of the server that a request's session is bound to, empty for none."""

    def set_cookie(self, sid: str, now: float, exchange: Any) -> str | None:
        """Return the value of Set-Cookie for a response of the server `sid`; None for no field."""

    def learn(self, exchange: Any, sid: str) -> None:
        """Bind the session that a response of the server `sid` names."""


class CookieSessions:
    """`sticky cookie`."""

    learns = early = False

    def __init__(self, settings: Sticky) -> None:
        self._settings = settings

    def wanted(self, exchange: Any) -> str:
        return cookie(exchange.header("Cookie"), self._settings.cookie)

    def set_cookie(self, sid: str, now: float, exchange: Any) -> str | None:
        return set_cookie(self._settings, sid, now, exchange)

    def learn(self, exchange: Any, sid: str) -> None:
        pass


class RouteSessions:
    """`sticky route`."""

    learns = early = False

    def __init__(self, settings: StickyRoute) -> None:
        self._settings = settings

    def wanted(self, exchange: Any) -> str:
        return _first(self._settings.variables, exchange)

    def set_cookie(self, sid: str, now: float, exchange: Any) -> str | None:
        return None

    def learn(self, exchange: Any, sid: str) -> None:
        pass


class LearnedSessions:
    """`sticky learn`. `table` is None until the proxy gives the zone. `clock` returns seconds since the epoch."""

    learns = True

    def __init__(self, settings: StickyLearn, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self.early = settings.header
        self.zone = settings.zone
        self.table: Zone | None = None

    def wanted(self, exchange: Any) -> str:
        session = _first(self._settings.lookup, exchange)
        if not session or self.table is None:
            return ""
        key = _digest(session)
        entry = self.table.entry(key)
        if entry is None or entry.value is None:
            return ""
        self._bind(self.table, key, entry.value, entry)
        return entry.value.decode("latin-1")

    def set_cookie(self, sid: str, now: float, exchange: Any) -> str | None:
        return None

    def learn(self, exchange: Any, sid: str) -> None:
        session = _first(self._settings.create, exchange)
        if session and self.table is not None:
            key = _digest(session)
            self._bind(self.table, key, sid.encode("latin-1"), self.table.entry(key))

    def _bind(self, table: Zone, key: bytes, sid: bytes, known: Any) -> None:
        """Bind a session to a server, or extend its life if that is due."""
        now, timeout = int(self._clock() * 1000), int(self._settings.timeout * 1000)
        if known is None or known.value != sid or known.expires < now + timeout:
            table.put((key, sid, now + timeout + timeout // 8))


def sessions_of(settings: Any, clock: Callable[[], float] = time.time) -> Any:
    """Return the `Sessions` of a `sticky`; None without one."""
    if isinstance(settings, StickyLearn):
        return LearnedSessions(settings, clock)
    if isinstance(settings, StickyRoute):
        return RouteSessions(settings)
    return None if settings is None else CookieSessions(settings)


def _first(variables: tuple[Template, ...], exchange: Any) -> str:
    """Return the first value that is not empty, else ""."""
    return next((value for each in variables if (value := each(exchange))), "")


def _digest(session: str) -> bytes:
    return blake2b(session.encode("latin-1", "replace"), digest_size=16).digest()
