"""The request to an upstream: sent to one server after the other, and the response that comes back.

Rules:
- No attempt follows once a byte of a response was passed on to the client (ngx_http_upstream_next).
- A response that the cache may store keeps the upstream's own fields (`Response.raw`); every other one gets the client's.
- `X-Accel-*` of the response and `proxy_intercept_errors` are applied here, before anything of the response is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..access import destinations
from ..cache import met_alone, remember_error
from ..clocks import monotonic, wall_time
from ..errors import ClientError, ClientGone, InvalidResponse
from ..http import Pairs, tokens
from ..logs import errorlog
from ..response import Response
from ..routing import content_type
from ..transport import Call, Transport, watched
from ..tunnel import Tunnelled, require_connection
from . import pacing
from .attempts import LISTED, NEVER_FAILURES, Attempts, Retries, count_end, count_retry
from .request_body import take
from .upstream_body import Forwarded

if TYPE_CHECKING:
    from ..cache import Fetch
    from ..config import ProxySettings
    from ..exchange import Exchange
    from ..response import Attempt
    from ..transport import Reply, Route
    from ..upstream import Lease
    from .forwarder import Forwarder
    from .internal_redirects import Detours
    from .location import CompiledLocation
    from .request_body import Upload
    from .targets import Target, Targets

_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
"""Fields without a meaning in a 1xx response, which has no body (RFC 9110, section 8.6)."""


class UpstreamRequests:
    """Sends the requests of all locations to their upstreams."""

    def __init__(self, transport: Transport, targets: Targets, detours: Detours) -> None:
        self._transport = transport
        self._targets = targets
        self._detours = detours

    def ask(self, exchange: Exchange, compiled: CompiledLocation, fetch: Fetch | None = None) -> Response:
        """Return an upstream's response; `proxy_request_buffering` reads the request's body first.

        A cache's `fetch` says what to ask for instead of the client's request. Raises ProxyError.
        """
        gateway = compiled.gateway
        if gateway is not None and gateway.protocol == "memcached":
            if exchange.method not in ("GET", "HEAD"):
                raise ClientError("memcached_pass answers GET and HEAD", status=405)
            exchange.drop_body()
        upload: Upload | None = None
        if compiled.alters_body or exchange.chunked or exchange.content_length is not None:
            location = compiled.location
            upload = take(exchange, location.proxy, location.core)
        try:
            return self._send(exchange, compiled, upload, fetch)
        except BaseException:
            if upload is not None:
                upload.close()
            raise

    def _send(self, exchange: Exchange, compiled: CompiledLocation, upload: Upload | None, fetch: Fetch | None) -> Response:
        forwarder = compiled.forwarder
        assert forwarder is not None
        settings = forwarder.settings
        target = self._targets.of(exchange, compiled)
        method = exchange.method if compiled.method is None else compiled.method(exchange).upper()
        if fetch is not None and fetch.method is not None:
            method = fetch.method
        call = Call(method, forwarder.head(exchange, method, target.path or forwarder.target(exchange), upload, fetch), upload)
        call.may_close = forwarder.may_close
        if exchange.upgrade:
            require_connection(exchange)
        if compiled.gateway is not None:
            call.log = Log(exchange, target)
        if fetch is None and compiled.watches_client:
            call.client = client_of(exchange)
        if compiled.early_hints and not exchange.subrequest and "wsgi.early_hints" in exchange.environ:
            call.hints = partial(_pass_hints, exchange, forwarder)
        tries = compiled.tries or target.pool.tries_limit
        retries = Retries(settings, exchange.method, tries, upload, monotonic)
        body: Forwarded = Forwarding(exchange, target, retries, call, upload, settings, self._transport.send).run()
        return self._take_reply(exchange, compiled, forwarder, body, fetch)

    def _take_reply(
        self, exchange: Exchange, compiled: CompiledLocation, forwarder: Forwarder, body: Forwarded, fetch: Fetch | None
    ) -> Response:
        """Return the response of a successful attempt, or another one that takes its place."""
        reply = body.reply
        settings = forwarder.settings
        exchange.upstream_pairs = reply.pairs
        body.lease.answered(exchange)
        if reply.status == 101:
            idle = settings.read_timeout if settings.stream_timeout is None else settings.stream_timeout
            return Response(101, forwarder.response_headers(exchange, reply.pairs), Tunnelled(body, exchange.upgrade, idle))
        if compiled.intercepts and reply.status >= 300 and self._detours.error_page(exchange, reply.status) is not None:
            body.close()
            if fetch is not None:
                remember_error(fetch, exchange, reply.status, list(reply.pairs))
            challenges = [pair for pair in reply.pairs if pair[0].lower() == "www-authenticate"] if reply.status == 401 else []
            return self._detours.special(exchange, reply.status, challenges)
        valued = compiled.gateway is not None and compiled.gateway.protocol == "memcached"
        if valued and reply.status == 404:
            body.close()
            return self._detours.special(exchange, 404)
        if reply.special:
            rate = pacing.accelerated(reply.pairs, settings.ignore_headers)
            if rate is not None:
                exchange.limit_rate = rate
            moved = self._detours.accelerated(exchange, forwarder, body)
            if moved is not None:
                return moved
        if compiled.rate is not None:
            body.rate = pacing.evaluated(compiled.rate, exchange)
        raw = fetch is not None and not fetch.unsafe
        pairs = list(reply.pairs) if raw else forwarder.response_headers(exchange, reply.pairs)
        if reply.status == 426 and exchange.connection is not None and not raw:
            # RFC 9110, section 15.5.22: the field says which protocol is required.
            pairs += [pair for pair in reply.pairs if pair[0].lower() == "upgrade"]
            pairs.append(("Connection", "upgrade"))
        if valued and (kind := content_type(exchange.uri, exchange.location.core)):
            # A value has no media type. It gets that of the URI, as a file does.
            pairs.append(("Content-Type", kind))
        response = Response(reply.status, pairs, body, reason=reply.reason)
        response.raw = raw
        cookie = body.lease.sticky_cookie(exchange)
        if cookie is not None:
            if fetch is not None and raw:
                fetch.cookie = cookie
            else:
                response.headers.append(("Set-Cookie", cookie))
        response.length = reply.content_length
        response.source = reply
        return response


class Forwarding(Attempts):
    """The attempts to forward one request; `transmit` is `Transport.send`."""

    __slots__ = ("_call", "_settings", "_target", "_transmit", "_upload")

    def __init__(
        self,
        exchange: Exchange,
        target: Target,
        retries: Retries,
        call: Call,
        upload: Upload | None,
        settings: ProxySettings,
        transmit: Callable[[Call, Route], Reply],
    ) -> None:
        super().__init__(exchange, target.pool, retries)
        self._target = target
        self._call = call
        self._upload = upload
        self._settings = settings
        self._transmit = transmit

    def send(self, lease: Lease, attempt: Attempt) -> Forwarded | None:
        """Send the request to one server and wait for the head of its response."""
        exchange, target, settings = self.exchange, self._target, self._settings
        if target.judged:
            destinations.check(exchange, exchange.location.guard, lease.peer.address)
        reply = self._transmit(self._call, target.route(exchange, lease.peer, settings))
        status = reply.status
        if status == 101 and not _asked_for(reply.head.upgrade, exchange.upgrade):
            reply.close()
            raise InvalidResponse("upstream sent a 101 that the client did not ask for")
        attempt.status = status
        attempt.connect_time = reply.connect_time
        attempt.header_time = reply.header_time
        if status >= 400 and self.retries.may(LISTED.get(status), True):
            reply.close()
            attempt.response_time = wall_time() - attempt.started
            attempt.bytes_sent, attempt.bytes_received = reply.bytes_sent, reply.bytes_received
            lease.settle(status not in NEVER_FAILURES)
            count_end(attempt, status not in NEVER_FAILURES)
            count_retry(attempt, LISTED.get(status))
            return None
        return Forwarded(reply, lease, attempt, self._upload, settings)

    def url(self, lease: Lease) -> str:
        return self._target.url(lease.peer)


class Log:
    """Writes the lines of a FastCGI server to the error log of the request's location."""

    __slots__ = ("_exchange", "_target")

    def __init__(self, exchange: Exchange, target: Target) -> None:
        self._exchange = exchange
        self._target = target

    def __call__(self, level: str, text: str) -> None:
        errorlog.line(level, text, self._exchange, f"{self._target.scheme}://{self._exchange.tries[-1].address}")


def client_of(exchange: Exchange) -> Any:
    """Return the client whose leaving ends the request: the worker's connection, else a watched socket, else None.

    None for a request in the background.
    """
    if exchange.background:
        return None
    return exchange.connection if exchange.connection is not None else watched(exchange.environ)


def _asked_for(upgrade: str, asked: str) -> bool:
    """Return True if a 101 switches to protocols that the client named, and only to those (RFC 9110, section 7.8)."""
    chosen = tokens(upgrade)
    return bool(asked) and bool(chosen) and chosen <= tokens(asked)


def _pass_hints(exchange: Exchange, forwarder: Forwarder, pairs: Pairs) -> None:
    """Pass a 103 (Early Hints) on to the client if `early_hints` allows it (RFC 8297; ngx_http_core_module)."""
    if all(condition(exchange) in ("", "0") for condition in exchange.location.core.early_hints):
        return
    if sum(len(name) + len(value) + 4 for name, value in pairs) > forwarder.settings.buffer_size:
        raise InvalidResponse("upstream sent too big header of Early Hints")
    fields = [pair for pair in forwarder.response_headers(exchange, pairs) if pair[0].lower() not in _FRAMING]
    if fields:
        try:
            exchange.environ["wsgi.early_hints"](fields)
        except OSError as error:
            raise ClientGone(f"sending early hints failed: {error}") from error


def ranged(exchange: Exchange, response: Response) -> Response:
    """Return the client's part of an upstream's response, or all of it with the offer of parts (`proxy_force_ranges`)."""
    found = met_alone(exchange, response, wall_time())
    fields = [pair for pair in found.headers if pair[0].lower() != "accept-ranges"]
    if found.status == 200 and found.length is not None:
        fields.append(("Accept-Ranges", "bytes"))
    found.headers = fields
    return found
