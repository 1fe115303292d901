"""Other ways to an answer than the straight one: `error_page`, `try_files`, `X-Accel-Redirect`, and requests of our own.

Rules:
- A detour ends where the sentence begins: it sets where the request goes now and lets the hallway walk again.
- More than ten redirects in one request are a fault, as in nginx; the router counts them.
- While an error page is being made no other is, unless `recursive_error_pages` says so.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import static
from ..errors import ClientError, ClientGone, NoLiveUpstreams, ProxyError, UpstreamError
from ..exchange import Exchange
from ..http import first, split_unsafe
from ..logs import errorlog
from ..response import Response
from . import response_headers

if TYPE_CHECKING:
    from ..config import ErrorPage
    from ..routing import Router
    from .forwarder import Forwarder
    from .forwarding import Forwarded

MAX_REDIRECTS = 10

KEPT = frozenset({"content-disposition", "set-cookie", "cache-control", "expires", "accept-ranges"})
"""Fields of an application's answer that stay when X-Accel-Redirect has another place answer; Content-Type is the other one
(ngx_http_upstream.c, `redirect` of ngx_http_upstream_headers_in)."""


class Detours:
    """`walk` is the hallway's: it answers an exchange from `Router.route` on."""

    def __init__(self, router: Router, walk: Callable[[Exchange], Response]) -> None:
        self._router = router
        self._walk = walk

    def _go(self, exchange: Exchange, where: str) -> None:
        """Send the request to a named location, or to a URI with its query."""
        if where.startswith("@"):
            self._router.named(exchange, where)
        else:
            path, mark, args = where.partition("?")
            self._router.redirect(exchange, path, args if mark else None)

    def refuse(self, exchange: Exchange, error: ProxyError) -> Response:
        """The page for a fault, and its line in the log."""
        if isinstance(error, NoLiveUpstreams):
            errorlog.line("error", str(error), exchange, exchange.upstream_name)
        elif isinstance(error, ClientError | ClientGone):
            if str(error):
                errorlog.line("info", str(error), exchange)
        elif not isinstance(error, UpstreamError):
            errorlog.line("error", str(error), exchange)
        response = self.special(exchange, error.status)
        response.headers += getattr(error, "headers", ())
        return response

    def special(self, exchange: Exchange, status: int) -> Response:
        """The answer for a status that nothing else answers: what `error_page` says, else the standard page."""
        rule = self.error_page(exchange, status)
        if rule is not None:
            try:
                return self._follow(exchange, status, rule)
            except ProxyError as error:
                # What went wrong now is what the client is told, as in nginx.
                return self.refuse(exchange, error)
        exchange.error_response = 0
        return response_headers.standard_page(exchange, status)

    def error_page(self, exchange: Exchange, status: int) -> ErrorPage | None:
        """The `error_page` in force for a status; none while one is being made, unless they may be recursive."""
        location = exchange.location_or_none
        if location is None or exchange.redirects > MAX_REDIRECTS:
            return None
        if exchange.error_status and not location.core.recursive_error_pages:
            return None
        for rule in location.core.error_page:
            if status in rule.codes:
                return rule
        return None

    def _follow(self, exchange: Exchange, status: int, rule: ErrorPage) -> Response:
        """Follow an `error_page`: an internal redirect, a named location, or a redirect of the client."""
        exchange.error_status = status
        exchange.error_response = status if rule.response is None else rule.response
        uri = rule.uri(exchange)
        if uri.startswith(("@", "/")):
            if uri.startswith("/") and exchange.method != "HEAD":
                exchange.method = "GET"
            self._go(exchange, uri)
        else:
            code = rule.response if rule.response in (301, 302, 303, 307, 308) else 302
            return response_headers.redirect_page(exchange, code, uri)
        response = self._walk(exchange)
        if exchange.error_response:
            response.status, response.reason = exchange.error_response, ""
        return response

    def try_files(self, exchange: Exchange) -> Response | None:
        """Follow `try_files`: None when the location itself goes on with the file that was found."""
        outcome = static.try_files(exchange)
        if outcome is None:
            return None
        if isinstance(outcome, int):
            return self.special(exchange, outcome)
        self._go(exchange, outcome)
        return self._walk(exchange)

    def accelerated(self, exchange: Exchange, forwarder: Forwarder, body: Forwarded) -> Response | None:
        """`X-Accel-Redirect`: the upstream names the place that answers instead of it, and some fields of its own stay."""
        pairs = body.reply.pairs
        uri = first(pairs, "x-accel-redirect")
        if uri is None or "x-accel-redirect" in forwarder.settings.ignore_headers:
            return None
        body.close()
        exchange.content_type = first(pairs, "content-type") or exchange.content_type
        exchange.kept = exchange.kept + forwarder.response_headers(exchange, [pair for pair in pairs if pair[0].lower() in KEPT])
        if uri.startswith("@"):
            self._router.named(exchange, uri)
        else:
            parts = split_unsafe(uri)
            if parts is None:
                raise ProxyError(f'unsafe URI "{uri}" was detected', status=404)
            if exchange.method != "HEAD":
                exchange.method = "GET"
            self._router.redirect(exchange, *parts)
        return self._walk(exchange)

    def subrequest(self, exchange: Exchange, uri: str) -> Response:
        """A request of our own on a client's behalf, without its body (auth_request). Its body must be closed."""
        # Its body is the client's request's, and is still to be read for that.
        inner = Exchange.from_environ({**exchange.environ, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()})
        inner.pairs = [pair for pair in exchange.pairs if pair[0].lower() not in ("content-length", "transfer-encoding")]
        inner.content_length, inner.chunked = None, False
        inner.server, inner.remote_addr, inner.variables = exchange.server, exchange.remote_addr, exchange.variables
        inner.method = "GET"
        inner.subrequest = True
        inner.redirects = exchange.redirects + 1
        if inner.redirects > MAX_REDIRECTS:
            raise ProxyError("subrequests cycle")
        path, mark, args = uri.partition("?")
        self._router.redirect(inner, path, args if mark else "")
        return self._walk(inner)
