"""The decision whether a client gets compressed responses: Accept-Encoding, `gzip_proxied`, `gzip_disable`, `gzip_http_version`.

Rules:
- The field is read exactly as nginx reads it: only `gzip` itself counts, neither `*` nor `x-gzip`, and a malformed weight is a
  refusal.
Source: ngx_http_gzip_ok and ngx_http_gzip_accept_encoding, by behaviour; tests/differential/test_gzip.py compares them.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from ..http import pages, parse_date

if TYPE_CHECKING:
    from ..config import GzipSettings
    from ..exchange import Exchange
    from ..response import Response

_WEIGHT: Final = re.compile(r"([01])(?:\.([0-9]{0,3}))?(?![^, ])")


def accepts(field: str, coding: str = "gzip") -> bool:
    """Return True if an Accept-Encoding accepts a coding.

    >>> accepts("deflate, gzip;q=0.001"), accepts("gzip;q=0"), accepts("*")
    (True, False, False)
    """
    lower = field.lower()
    at = lower.find(coding)
    while at > 0 and lower[at - 1] not in ", ":
        at = lower.find(coding, at + len(coding))
    if at < 0:
        return False
    rest = lower[at + len(coding) :].lstrip(" ")
    if rest[:1] != ";":
        return rest[:1] in ("", ",")
    rest = rest[1:].lstrip(" ")
    if not rest:
        return True
    if rest[:2] != "q=":
        return False
    weight = _WEIGHT.match(rest, 2)
    if weight is None:
        return False
    whole, digits = weight.groups()
    parts = sum(int(digit) for digit in digits or "")
    return bool(parts) if whole == "0" else not parts


def may_compress(exchange: Exchange, settings: GzipSettings, response: Response | None) -> bool:
    """Return True if the client of a request gets gzip; `response` is None before there is one (`gzip_static`)."""
    get = exchange.sent
    if exchange.subrequest:
        return False
    field = get("HTTP_ACCEPT_ENCODING") or ""
    if not field.startswith("gzip,") and not accepts(field):
        return False
    agent = get("HTTP_USER_AGENT")
    if agent is not None and settings.disable_msie6 and pages.is_msie6(agent):
        return False
    if settings.http_version == "1.1" and exchange.protocol in ("HTTP/1.0", "HTTP/0.9"):
        return False
    if get("HTTP_VIA") is not None and not _through_proxy(exchange, settings.proxied, response):
        return False
    return agent is None or not any(pattern.search(agent) for pattern in settings.disable)


def _through_proxy(exchange: Exchange, words: frozenset[str], response: Response | None) -> bool:
    """Return True if `gzip_proxied` lets a request through that a proxy sent (with Via)."""
    if "off" in words:
        return False
    if "any" in words or ("auth" in words and exchange.sent("HTTP_AUTHORIZATION") is not None):
        return True
    if response is None:
        return True
    expires = response.header("expires")
    if expires is not None:
        until = parse_date(expires, time.time()) if "expired" in words else None
        return until is not None and until < _date(response)
    control = [value for name, value in response.headers if name.lower() == "cache-control"]
    if control:
        given = {part.strip().lower() for value in control for part in value.split(",")}
        return not given.isdisjoint(words & {"no-cache", "no-store", "private"})
    if "no_last_modified" in words and response.header("last-modified") is not None:
        return False
    return "no_etag" not in words or response.header("etag") is None


def _date(response: Response) -> float:
    """Return the Date of a response in seconds since the epoch; that of now without one, 0 for one that is no date."""
    text = response.header("date")
    if text is None:
        return time.time()
    return parse_date(text, time.time()) or 0.0
