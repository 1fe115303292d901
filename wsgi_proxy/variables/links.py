"""The variables of valid_referers ($invalid_referer) and secure_link ($secure_link, $secure_link_expires).

Rules:
- The variables refuse nothing. An `if` of the configuration acts on their values.
- A client may send any Referer. A secure link carries a hash over a secret (MD5, as in nginx's links).
Source: ngx_http_referer_module, ngx_http_secure_link_module.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config import GuardSettings
    from ..exchange import Exchange

_SHORTEST = len("http://i.ru")
_LONGEST_HOST = 256


def settings_of(exchange: Exchange) -> GuardSettings | None:
    """Return the settings in force: those of the location or, before one is chosen, those of the server."""
    place = exchange.location or (exchange.server and exchange.server.settings)
    return place.guard if place else None


class Referers:
    """The parameters of `valid_referers`: `none`, `blocked`, `server_names`, names with an optional path, compiled patterns."""

    __slots__ = ("_exact", "_heads", "_none", "_blocked", "_name_patterns", "_patterns", "_tails")

    def __init__(self, parameters: Iterable[Any], names: Iterable[str], name_patterns: Iterable[re.Pattern[str]] = ()) -> None:
        self._none = self._blocked = False
        self._exact: dict[str, str] = {}
        self._heads: dict[str, str] = {}
        self._tails: dict[str, str] = {}
        self._patterns: list[re.Pattern[str]] = []
        self._name_patterns: list[re.Pattern[str]] = []
        """Those of `server_name`, which are compared with the host alone."""
        for parameter in parameters:
            if isinstance(parameter, re.Pattern):
                self._patterns.append(parameter)
            elif parameter == "none":
                self._none = True
            elif parameter == "blocked":
                self._blocked = True
            elif parameter == "server_names":
                for name in names:
                    if name and not name.startswith("~"):
                        self._add(name, "")
                self._name_patterns += name_patterns
            else:
                host, slash, path = parameter.partition("/")
                self._add(host, slash + path)

    def _add(self, host: str, path: str) -> None:
        host = host.lower()
        if host.startswith("*."):
            self._heads[host[1:]] = path
        elif host.startswith("."):
            self._heads[host] = self._exact[host[1:]] = path
        elif host.endswith(".*"):
            self._tails[host[:-1]] = path
        else:
            self._exact[host] = path

    def valid(self, referer: str | None) -> bool:
        """Return True if the parameters admit this Referer; None stands for a request without one."""
        if not (self._exact or self._heads or self._tails or self._patterns or self._name_patterns):
            return True
        if referer is None:
            return self._none
        scheme, _, rest = referer.partition("://")
        if len(referer) < _SHORTEST or scheme.lower() not in ("http", "https"):
            return self._blocked
        authority, slash, path = rest.partition("/")
        host = authority.partition(":")[0].lower()
        if len(host) > _LONGEST_HOST:
            return False
        wanted = self._find(host)
        if wanted is not None:
            return (slash + path).startswith(wanted)
        if any(pattern.search(host) for pattern in self._name_patterns):
            return True
        return any(pattern.search(rest) for pattern in self._patterns)

    def _find(self, host: str) -> str | None:
        """Return the path prefix of the most exact name for the host ("" for any path), None if no name matches."""
        if len(host) > 255:
            return None
        found = self._exact.get(host)
        at = host.find(".")
        while found is None and at >= 0:
            found = self._heads.get(host[at:]) if at else None
            at = host.find(".", at + 1)
        at = host.rfind(".")
        while found is None and at >= 0:
            found = self._tails.get(host[: at + 1])
            at = host.rfind(".", 0, at)
        return found


@lru_cache(maxsize=256)
def _referers(parameters: tuple[Any, ...], names: tuple[str, ...], patterns: tuple[tuple[str, re.Pattern[str]], ...]) -> Referers:
    return Referers(parameters, names, [pattern for _, pattern in patterns])


def invalid_referer(exchange: Exchange) -> str:
    """Return $invalid_referer: "1" if `valid_referers` does not admit the request, else ""."""
    settings = settings_of(exchange)
    if settings is None or settings.valid_referers is None:
        return ""
    referers = _referers(settings.valid_referers, exchange.server.names, exchange.server.name_patterns)
    return "" if referers.valid(exchange.environ.get("HTTP_REFERER")) else "1"


def secure_link(exchange: Exchange, clock: Callable[[], float] = time.time) -> str:
    """Return $secure_link: "" for a wrong hash, "0" for an expired link, "1" for a valid one. With `secure_link_secret`, the
    link.
    """
    settings = settings_of(exchange)
    if settings is None:
        return ""
    if settings.secure_link_secret:
        return _by_secret(exchange.target, settings.secure_link_secret)
    if settings.secure_link is None or settings.secure_link_md5 is None:
        return ""
    given, expires = _parts(settings.secure_link(exchange))
    if expires is not None and expires <= 0:
        return ""
    try:
        digest = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return ""
    wanted = hashlib.md5(settings.secure_link_md5(exchange).encode("latin-1"), usedforsecurity=False).digest()
    if len(given) > 24 or not hmac.compare_digest(digest, wanted):
        return ""
    return "0" if expires is not None and expires < clock() else "1"


def secure_link_expires(exchange: Exchange) -> str:
    """Return $secure_link_expires: the expiry in the link, in seconds since 1970, or ""."""
    settings = settings_of(exchange)
    if settings is None or settings.secure_link is None:
        return ""
    expires = _parts(settings.secure_link(exchange))[1]
    return str(expires) if expires is not None and expires > 0 else ""


def _parts(value: str) -> tuple[str, int | None]:
    """Return (hash, expiry or None) of "hash[,expiry]". An expiry that is no number is 0."""
    given, comma, stamp = value.partition(",")
    if not comma:
        return given.rstrip("="), None
    return given.rstrip("="), int(stamp) if stamp.isascii() and stamp.isdigit() else 0


def _by_secret(target: str, secret: str) -> str:
    """Return the link of `/prefix/hash/link` if the hash is that of the link and the secret, else ""."""
    parts = target.split("/", 3)
    if len(parts) < 4 or not parts[3]:
        return ""
    _, _, given, link = parts
    wanted = hashlib.md5((link + secret).encode("latin-1"), usedforsecurity=False).hexdigest()
    return link if hmac.compare_digest(given.lower().encode("latin-1"), wanted.encode()) else ""
