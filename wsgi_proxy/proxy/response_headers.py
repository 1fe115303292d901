"""The fields that a location adds to its responses (`add_header`, `expires`, `charset`, `add_trailer`), and standard pages.

Rules:
- A location without these directives has no finisher, and its responses cost nothing here.
- `add_header` and `expires` apply to nginx's statuses (ngx_http_headers_module), `add_header … always` to every status.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..http import Pairs, format_date, pages, parse_date
from ..response import Response

if TYPE_CHECKING:
    from ..config import AddHeader, Location, Template
    from ..exchange import Exchange

TOUCHED = frozenset({200, 201, 204, 206, 301, 302, 303, 304, 307, 308})
"""The statuses that get `expires`, and `add_header` without `always`."""

CLOSING = frozenset({400, 413, 414, 494, 495, 496, 497, 500, 501})
"""The statuses after whose page the client's connection is closed (ngx_http_special_response_handler): the bytes that follow a
malformed request may not be a request."""

_WITH_CHARSET = frozenset(
    {"text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"}
)
"""The types that `charset` applies to: the default of nginx's `charset_types`."""

_DAY = 86400
_TIME_OF_DAY = re.compile(r"@(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")

Finisher = Callable[["Exchange", Response], None]


def standard_page(exchange: Exchange, status: int) -> Response:
    """Return nginx's page for a status."""
    location = exchange.location_or_none
    body = pages.page(status, pages.product(location.core) if location is not None else "wsgi_proxy")
    fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))] if body else []
    if status in CLOSING and exchange.connection is not None:
        fields.append(("Connection", "close"))
    return Response(pages.shown_status(status), fields, (body,) if body else (), length=len(body))


def redirect_page(exchange: Exchange, status: int, url: str) -> Response:
    """Return a redirect of the client to a URL."""
    response = standard_page(exchange, status)
    response.headers.append(("Location", url))
    return response


def keep(exchange: Exchange, response: Response) -> None:
    """Put the fields that an X-Accel-Redirect keeps into the response that took its place.

    Lists (Set-Cookie, Cache-Control) are joined, as in nginx. Of a field that a response has only once, the application's stays;
    nginx sends both.
    """
    kept = exchange.kept
    if response.status >= 300:
        # Such a page has no ranges (ngx_http_send_special_response).
        kept = [pair for pair in kept if pair[0].lower() != "accept-ranges"]
    single = {name.lower() for name, _ in kept} - {"set-cookie", "cache-control"}
    headers = kept + [pair for pair in response.headers if pair[0].lower() not in single]
    if exchange.content_type and response.status not in (204, 304) and response.header("content-type") is None:
        headers.append(("Content-Type", exchange.content_type))
    response.headers = headers


def compile_finisher(location: Location) -> Finisher | None:
    """Return the function that finishes a location's responses; None if no directive changes them."""
    core = location.core
    steps: list[Finisher] = []
    if core.charset is not None and getattr(core.charset, "constant", None) != "off":
        steps.append(_Charset(core.charset))
    if core.expires is not None:
        steps.append(_Expires(core.expires, core.expires_modified))
    if core.add_header:
        steps.append(_AddHeaders(core.add_header))
    if core.add_trailer:
        steps.append(_AddTrailers(core.add_trailer, core.chunked_transfer_encoding))
    if not steps:
        return None
    if len(steps) == 1:
        return steps[0]

    def all_of_them(exchange: Exchange, response: Response) -> None:
        for step in steps:
            step(exchange, response)

    return all_of_them


class _Charset:
    """`charset`: adds the name to a Content-Type without one (ngx_http_charset_module); the body is not converted."""

    __slots__ = ("_value",)

    def __init__(self, value: Template) -> None:
        self._value = value

    def __call__(self, exchange: Exchange, response: Response) -> None:
        for at, (name, text) in enumerate(response.headers):
            if name.lower() == "content-type":
                # A value with parameters is not in the set.
                if text.strip().lower() in _WITH_CHARSET:
                    charset = self._value(exchange)
                    if charset and charset != "off":
                        response.headers[at] = (name, f"{text.strip()}; charset={charset}")
                return


class _AddHeaders:
    """`add_header`: evaluates the values when the response's other fields are known."""

    __slots__ = ("_fields",)

    def __init__(self, fields: tuple[AddHeader, ...]) -> None:
        self._fields = fields

    def __call__(self, exchange: Exchange, response: Response) -> None:
        exchange.status = response.status
        touched = response.status in TOUCHED
        for field in self._fields:
            if touched or field.always:
                value = field.value(exchange)
                if value:
                    response.headers.append((field.name, value))


class _AddTrailers:
    """`add_trailer`: makes the body chunked, so that the fields can follow it; they are evaluated at its end.

    Only ProxyWorker can send trailers, and only to an HTTP/1.1 client; any other response stays unchanged.
    """

    __slots__ = ("_always", "_fields")

    def __init__(self, fields: tuple[AddHeader, ...], chunks: bool) -> None:
        self._fields = fields if chunks else ()
        self._always = tuple(field for field in self._fields if field.always)

    def __call__(self, exchange: Exchange, response: Response) -> None:
        fields = self._fields if response.status in TOUCHED else self._always
        if fields and exchange.connection is not None and exchange.protocol != "HTTP/1.0" and exchange.method != "HEAD":
            if response.status in (101, 204, 304):
                return
            exchange.added_trailers = fields
            response.headers = [pair for pair in response.headers if pair[0].lower() != "content-length"]
            response.length = None


class _Expires:
    """`expires`: replaces the upstream's Expires and Cache-Control."""

    __slots__ = ("_modified", "_value")

    def __init__(self, value: Template, modified: bool) -> None:
        self._value = value
        self._modified = modified

    def __call__(self, exchange: Exchange, response: Response) -> None:
        if response.status not in TOUCHED:
            return
        fields = expires_fields(self._value(exchange), time.time(), response.header("last-modified") if self._modified else None)
        if fields:
            response.headers = [pair for pair in response.headers if pair[0].lower() not in ("expires", "cache-control")] + fields


def expires_fields(value: str, now: float, last_modified: str | None = None) -> Pairs:
    """Return Expires and Cache-Control for a value of `expires`; [] for `off`. `now` is in seconds since the epoch.

    >>> expires_fields("epoch", 0.0)
    [('Expires', 'Thu, 01 Jan 1970 00:00:01 GMT'), ('Cache-Control', 'no-cache')]
    """
    if value in ("", "off"):
        return []
    if value == "epoch":
        return [("Expires", "Thu, 01 Jan 1970 00:00:01 GMT"), ("Cache-Control", "no-cache")]
    if value == "max":
        return [("Expires", "Thu, 31 Dec 2037 23:55:55 GMT"), ("Cache-Control", "max-age=315360000")]
    if value.startswith("@"):
        until = _until_time_of_day(value, now)
    else:
        until = int(value)
        modified = None if last_modified is None else parse_date(last_modified, now)
        if modified is not None:
            until += int(modified - now)
    control = f"max-age={until}" if until >= 0 else "no-cache"
    return [("Expires", format_date(int(now + until))), ("Cache-Control", control)]


def _until_time_of_day(value: str, now: float) -> int:
    """Return the seconds until the next local time of day `@15h30m`."""
    match = _TIME_OF_DAY.fullmatch(value)
    hours, minutes, seconds = (int(group or 0) for group in match.groups()) if match else (0, 0, 0)
    local = time.localtime(now)
    passed = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec
    return (hours * 3600 + minutes * 60 + seconds - passed) % _DAY
