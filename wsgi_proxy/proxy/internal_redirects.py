"""Internal redirects (`error_page`, `try_files`, `X-Accel-Redirect`, an index).

Rules:
- An internal redirect sets the request's new URI or named location and enters the request path again at `Router.route`.
- More than ten redirects in one request are an error, as in nginx; the router counts them.
- A request gets one error page, unless the location that chooses it has `recursive_error_pages` (ngx_http_special_response.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .. import static
from ..errors import ClientError, ClientGone, NoLiveUpstreams, ProxyError, Refusal, UpstreamError
from ..exchange import Exchange
from ..http import first, shown_status, split_unsafe
from ..logs import errorlog
from ..response import InternalRedirect, Response
from . import response_headers

if TYPE_CHECKING:
    from ..config import ErrorPage
    from ..routing import Router
    from .forwarder import Forwarder
    from .upstream_body import Forwarded

MAX_REDIRECTS = 10

_ENDING = frozenset({400, 413, 414, 495, 496, 497, 500, 501})
"""Statuses after which a connection is not kept, whatever response an error page gives (ngx_http_special_response_handler)."""
SILENT = frozenset({408, 444, 499})
"""Statuses without a response (ngx_http_finalize_request)."""
KEPT = frozenset({"content-disposition", "set-cookie", "cache-control", "expires", "accept-ranges"})
"""Fields of an application's response that stay when X-Accel-Redirect lets another location answer. Content-Type stays as well
(ngx_http_upstream.c, `redirect` of ngx_http_upstream_headers_in)."""


class Detours:
    """The internal redirects of a proxy. `walk` answers an exchange from `Router.route` on."""

    def __init__(self, router: Router, walk: Callable[[Exchange], Response]) -> None:
        self._router = router
        self._walk = walk

    def resolve(self, exchange: Exchange, response: Response) -> Response:
        """Return the response that takes the place of one with an outcome."""
        outcome = response.outcome
        if isinstance(outcome, InternalRedirect):
            return self._go(exchange, outcome.uri, outcome.args)
        return self.special(exchange, response.status, response.headers)

    def _go(self, exchange: Exchange, uri: str, args: str | None) -> Response:
        """Answer from a named location (`@name`), or from the location of a decoded URI."""
        if uri.startswith("@"):
            self._router.named(exchange, uri)
        else:
            self._router.redirect(exchange, uri, args)
        return self._walk(exchange)

    def refuse(self, exchange: Exchange, error: ProxyError) -> Response:
        """Return the page for an error and log it."""
        exchange.error_type = error.error_type
        if isinstance(error, NoLiveUpstreams):
            errorlog.line("error", str(error), exchange, exchange.upstream_name)
        elif isinstance(error, ClientError | ClientGone):
            if str(error):
                errorlog.line("info", str(error), exchange)
        elif not isinstance(error, UpstreamError):
            errorlog.line("error", str(error), exchange)
        timed_out = error.status == 408 and isinstance(error, ClientError) and not isinstance(error, Refusal)
        return self.special(exchange, error.status, getattr(error, "headers", ()), timed_out)

    def special(
        self, exchange: Exchange, status: int, fields: Iterable[tuple[str, str]] = (), timed_out: bool = False
    ) -> Response:
        """Return the page for a status: by `error_page`, else the standard page.

        As in nginx the statuses of SILENT close the connection without a response, unless a client that sent too slowly has
        `timed_out`: it gets its 408 (RFC 9110, section 15.5.9).

        `fields` belong to the status (Location, WWW-Authenticate, Content-Range). They stay on an error page that has none of the
        same name.
        """
        if status in SILENT and not timed_out:
            response = response_headers.standard_page(exchange, status)
            response.hangs_up = True
            return response
        if status in _ENDING and exchange.connection is not None and not exchange.subrequest:
            exchange.connection.end()
        rule = None if exchange.error_page_made else self.error_page(exchange, status)
        if rule is None:
            exchange.error_response = 0
            url = next((value for name, value in fields if name == "Location"), None)
            refresh = None if url is None else response_headers.refresh_page(exchange, status, url)
            if refresh is not None:
                return refresh
            response = response_headers.standard_page(exchange, status)
        else:
            try:
                response = self._follow(exchange, status, rule)
            except ProxyError as error:
                # As in nginx the client gets the status of the later error.
                response = self.refuse(exchange, error)
        if fields:
            present = {name.lower() for name, _ in response.headers}
            for name, value in fields:
                if name.lower() not in present:
                    response.headers.append((name, value))
                    response.relative = response.relative or name == "Location"
        return response

    def error_page(self, exchange: Exchange, status: int) -> ErrorPage | None:
        """Return the `error_page` for a status; None without one."""
        location = exchange.location_or_none
        if location is None or exchange.redirects > MAX_REDIRECTS:
            return None
        for rule in location.core.error_page:
            if status in rule.codes:
                return rule
        return None

    def _follow(self, exchange: Exchange, status: int, rule: ErrorPage) -> Response:
        """Follow an `error_page`: an internal redirect, a named location, or a redirect of the client."""
        exchange.error_status = status
        exchange.error_response = shown_status(status) if rule.response is None else rule.response
        if not exchange.location.core.recursive_error_pages:
            exchange.error_page_made = True
        uri = rule.uri(exchange)
        if uri.startswith(("@", "/")):
            upload = exchange.upload
            if uri.startswith("@"):
                if exchange.body_dropped:
                    # The method stays, and with it a length (RFC 9110, section 8.6).
                    exchange.content_length = 0
            elif upload is not None and not (upload.whole if exchange.error_type else upload.ended):
                # A page is asked for by GET. It neither waits for the rest of a streamed body nor gets one that went
                # to an upstream that failed (ngx_http_discard_request_body).
                exchange.drop_body()
            if uri.startswith("/") and exchange.method != "HEAD":
                exchange.method = "GET"
            path, mark, args = uri.partition("?")
            response = self._go(exchange, path, args if mark else None)
        else:
            code = rule.response if rule.response in (301, 302, 303, 307, 308) else 302
            return response_headers.redirect_page(exchange, code, uri)
        if exchange.error_response:
            response.status, response.reason = exchange.error_response, ""
        return response

    def try_files(self, exchange: Exchange) -> Response | None:
        """Follow `try_files`; return None if the location itself goes on with the file that was found."""
        fallback = static.try_files(exchange)
        return None if fallback is None else self.resolve(exchange, fallback)

    def accelerated(self, exchange: Exchange, forwarder: Forwarder, body: Forwarded) -> Response | None:
        """Follow `X-Accel-Redirect`: another location answers, and some of the upstream's fields stay. None without the field."""
        pairs = body.reply.pairs
        uri = first(pairs, "x-accel-redirect")
        if uri is None or "x-accel-redirect" in forwarder.settings.ignore_headers:
            return None
        body.close()
        exchange.content_type = first(pairs, "content-type") or exchange.content_type
        exchange.kept = exchange.kept + forwarder.response_headers(exchange, [pair for pair in pairs if pair[0].lower() in KEPT])
        if uri.startswith("@"):
            return self._go(exchange, uri, None)
        parts = split_unsafe(uri)
        if parts is None:
            raise ProxyError(f'unsafe URI "{uri}" was detected', status=404)
        if exchange.method != "HEAD":
            exchange.method = "GET"
        return self._go(exchange, *parts)
