"""The fields that a location adds to its responses (`add_header`, `expires`, `add_trailer`), and standard pages.

Rules:
- A location without these directives has no finisher, and its responses cost nothing here.
- `add_header` and `expires` apply to nginx's statuses (ngx_http_headers_module), `add_header … always` to every status.
- A step sees the fields of the steps before it in `$sent_http_*`: the response is on the exchange before the first one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..config import parse_expires
from ..http import Pairs, format_date, pages, parse_date, single_line
from ..response import Response
from ..routing import absolute

if TYPE_CHECKING:
    from ..config import AddHeader, Location, Template
    from ..exchange import Exchange

TOUCHED: Final = frozenset({200, 201, 204, 206, 301, 302, 303, 304, 307, 308})
"""The statuses that get `expires`, and `add_header` without `always`."""

CLOSING: Final = frozenset({400, 413, 414, 494, 495, 496, 497, 500, 501})
"""The statuses after whose page the client's connection is closed (ngx_http_special_response_handler): the bytes that follow a
malformed request may not be a request."""


_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_REPLACED: Final = frozenset({"etag", "last-modified"})
"""The fields that `add_header` replaces or, with an empty value, removes (ngx_http_set_response_header)."""


Finisher = Callable[["Exchange", Response], None]


def standard_page(exchange: Exchange, status: int) -> Response:
    """Return nginx's page for a status."""
    location = exchange.location_or_none
    if location is None:
        body = pages.page(status)
    else:
        core = location.core
        padded = status >= 400 and core.msie_padding and pages.wants_padding(exchange.environ.get("HTTP_USER_AGENT", ""))
        body = pages.page(status, pages.product(core), padded)
    fields = [("Content-Type", "text/html")] if body else []
    if status not in (204, 304):
        fields.append(("Content-Length", str(len(body))))
    if status in CLOSING and exchange.connection is not None:
        fields.append(("Connection", "close"))
    return Response(pages.shown_status(status), fields, (body,) if body else (), length=len(body))


def refresh_page(exchange: Exchange, status: int, url: str) -> Response | None:
    """Return the page that takes the place of a redirect under `msie_refresh`; None for other browsers and statuses."""
    location = exchange.location_or_none
    if location is None or not location.core.msie_refresh or status not in (301, 302):
        return None
    if not pages.is_msie(exchange.environ.get("HTTP_USER_AGENT", "")):
        return None
    body = pages.refresh_page(url)
    fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
    return Response(200, fields, (body,), length=len(body))


def redirect_page(exchange: Exchange, status: int, url: str) -> Response:
    """Return a redirect of the client to a URL."""
    refresh = refresh_page(exchange, status, url)
    if refresh is not None:
        return refresh
    response = standard_page(exchange, status)
    response.headers.append(("Location", absolute(exchange, url)))
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


def naming_server(server: str, finisher: Finisher | None) -> Finisher:
    """Return a finisher that sets Server where the response has none, after another finisher.

    It is for locations whose `server_tokens` differs from that of the `http` block, whose value the worker adds.
    """

    def named(exchange: Exchange, response: Response) -> None:
        if finisher is not None:
            finisher(exchange, response)
        if response.header("server") is None:
            response.headers.insert(0, ("Server", server))

    return named


class _AddHeaders:
    """`add_header`: evaluates the values when the response's other fields are known."""

    __slots__ = ("_fields",)

    def __init__(self, fields: tuple[AddHeader, ...]) -> None:
        self._fields = tuple(field for field in fields if field.name.lower() not in _FRAMING)

    def __call__(self, exchange: Exchange, response: Response) -> None:
        touched = response.status in TOUCHED
        for field in self._fields:
            if touched or field.always:
                value = single_line(field.value(exchange))
                lower = field.name.lower()
                if lower in _REPLACED:
                    response.headers = [pair for pair in response.headers if pair[0].lower() != lower]
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
    """`expires`: replaces the upstream's Expires and Cache-Control. A value of a variable that is no time changes nothing."""

    __slots__ = ("_known", "_modified", "_value")

    def __init__(self, value: Template, modified: bool) -> None:
        self._value = value
        self._modified = modified
        constant: str | None = getattr(value, "constant", None)
        self._known = None if constant is None else parse_expires(constant, modified)

    def __call__(self, exchange: Exchange, response: Response) -> None:
        if response.status not in TOUCHED:
            return
        known = self._known
        if known is None:
            try:
                known = parse_expires(self._value(exchange), self._modified)
            except ValueError:
                return
        fields = expires_fields(known, time.time(), response.header("last-modified") if self._modified else None)
        if fields:
            response.headers = [pair for pair in response.headers if pair[0].lower() not in ("expires", "cache-control")] + fields


def expires_fields(value: tuple[str, int], now: float, last_modified: str | None = None) -> Pairs:
    """Return Expires and Cache-Control for the (kind, seconds) of `parse_expires`; [] for `off`. `now` is in seconds since the
    epoch (ngx_http_set_expires).

    >>> expires_fields(("epoch", 0), 0.0)
    [('Expires', 'Thu, 01 Jan 1970 00:00:01 GMT'), ('Cache-Control', 'no-cache')]
    """
    kind, seconds = value
    if kind == "off":
        return []
    if kind == "epoch":
        return [("Expires", "Thu, 01 Jan 1970 00:00:01 GMT"), ("Cache-Control", "no-cache")]
    if kind == "max":
        return [("Expires", "Thu, 31 Dec 2037 23:55:55 GMT"), ("Cache-Control", "max-age=315360000")]
    until = int(now) + seconds
    if kind == "daily":
        until = _next_time_of_day(seconds, int(now))
    elif kind == "modified" and seconds:
        modified = None if last_modified is None else parse_date(last_modified, now)
        if modified is not None:
            until = int(modified) + seconds
    age = until - int(now)
    control = f"max-age={age}" if seconds >= 0 and age >= 0 else "no-cache"
    return [("Expires", format_date(until)), ("Cache-Control", control)]


def _next_time_of_day(seconds: int, now: int) -> int:
    """Return the next moment at which the local clock shows a time of day, in seconds since the epoch (ngx_next_time)."""
    local = time.localtime(now)
    for day in (local.tm_mday, local.tm_mday + 1):
        moment = int(time.mktime((local.tm_year, local.tm_mon, day, 0, 0, seconds, 0, 0, local.tm_isdst)))
        if moment > now:
            break
    return moment
