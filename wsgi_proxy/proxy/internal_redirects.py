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
from ..exchange import Answer, Exchange
from ..http import first, split_unsafe
from ..logs import errorlog
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

    def __init__(self, router: Router, walk: Callable[[Exchange], Answer]) -> None:
        self._router = router
        self._walk = walk

    def _go(self, x: Exchange, where: str) -> None:
        """Send the request to a named location, or to a URI with its query."""
        if where.startswith("@"):
            self._router.named(x, where)
        else:
            path, mark, args = where.partition("?")
            self._router.redirect(x, path, args if mark else None)

    def refuse(self, x: Exchange, error: ProxyError) -> Answer:
        """The page for a fault, and its line in the log."""
        if isinstance(error, NoLiveUpstreams):
            errorlog.line("error", str(error), x, x.upstream_name)
        elif isinstance(error, ClientError | ClientGone):
            if str(error):
                errorlog.line("info", str(error), x)
        elif not isinstance(error, UpstreamError):
            errorlog.line("error", str(error), x)
        answer = self.special(x, error.status)
        answer.headers += getattr(error, "headers", ())
        return answer

    def special(self, x: Exchange, status: int) -> Answer:
        """The answer for a status that nothing else answers: what `error_page` says, else the standard page."""
        rule = self.error_page(x, status)
        if rule is not None:
            try:
                return self._follow(x, status, rule)
            except ProxyError as error:
                # What went wrong now is what the client is told, as in nginx.
                return self.refuse(x, error)
        x.error_response = 0
        return response_headers.standard_page(x, status)

    def error_page(self, x: Exchange, status: int) -> ErrorPage | None:
        """The `error_page` in force for a status; none while one is being made, unless they may be recursive."""
        location = x.location_or_none
        if location is None or x.redirects > MAX_REDIRECTS:
            return None
        if x.error_status and not location.core.recursive_error_pages:
            return None
        for rule in location.core.error_page:
            if status in rule.codes:
                return rule
        return None

    def _follow(self, x: Exchange, status: int, rule: ErrorPage) -> Answer:
        """Follow an `error_page`: an internal redirect, a named location, or a redirect of the client."""
        x.error_status = status
        x.error_response = status if rule.response is None else rule.response
        uri = rule.uri(x)
        if uri.startswith(("@", "/")):
            if uri.startswith("/") and x.method != "HEAD":
                x.method = "GET"
            self._go(x, uri)
        else:
            code = rule.response if rule.response in (301, 302, 303, 307, 308) else 302
            return response_headers.redirect_page(x, code, uri)
        answer = self._walk(x)
        if x.error_response:
            answer.status, answer.reason = x.error_response, ""
        return answer

    def try_files(self, x: Exchange) -> Answer | None:
        """Follow `try_files`: None when the location itself goes on with the file that was found."""
        outcome = static.try_files(x)
        if outcome is None:
            return None
        if isinstance(outcome, int):
            return self.special(x, outcome)
        self._go(x, outcome)
        return self._walk(x)

    def accelerated(self, x: Exchange, forwarder: Forwarder, body: Forwarded) -> Answer | None:
        """`X-Accel-Redirect`: the upstream names the place that answers instead of it, and some fields of its own stay."""
        pairs = body.reply.pairs
        uri = first(pairs, "x-accel-redirect")
        if uri is None or "x-accel-redirect" in forwarder.settings.ignore_headers:
            return None
        body.close()
        x.content_type = first(pairs, "content-type") or x.content_type
        x.kept = x.kept + forwarder.answer_headers(x, [pair for pair in pairs if pair[0].lower() in KEPT])
        if uri.startswith("@"):
            self._router.named(x, uri)
        else:
            parts = split_unsafe(uri)
            if parts is None:
                raise ProxyError(f'unsafe URI "{uri}" was detected', status=404)
            if x.method != "HEAD":
                x.method = "GET"
            self._router.redirect(x, *parts)
        return self._walk(x)

    def subrequest(self, x: Exchange, uri: str) -> Answer:
        """A request of our own on a client's behalf, without its body (auth_request). Its body must be closed."""
        # Its body is the client's request's, and is still to be read for that.
        inner = Exchange({**x.environ, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()})
        inner.pairs = [pair for pair in x.pairs if pair[0].lower() not in ("content-length", "transfer-encoding")]
        inner.content_length, inner.chunked = None, False
        inner.server, inner.remote_addr, inner.variables = x.server, x.remote_addr, x.variables
        inner.method = "GET"
        inner.subrequest = True
        inner.redirects = x.redirects + 1
        if inner.redirects > MAX_REDIRECTS:
            raise ProxyError("subrequests cycle")
        path, mark, args = uri.partition("?")
        self._router.redirect(inner, path, args if mark else "")
        return self._walk(inner)
