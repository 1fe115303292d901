"""The hallway: a request's way through the house, and the only loop over upstreams.

    Router.route → Guard.admit → Cache.lookup → [Pool.lease → Transport.send] → Cache.store → Forwarder.answer_headers → Answer

Rules:
- `respond` always gives an Answer: a ProxyError of any room becomes the page for its status, by `error_page` or ours.
- A failed try settles its lease at once; a good one settles when its body is closed.
- Nothing is tried again once a byte of an answer was passed on, nor a non-idempotent request once it was sent
  (ngx_http_upstream_next; RFC 9110, 9.2.2), nor a body that cannot be read again.
- Each decision is written on the Exchange.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from . import destinations, errorlog, finishing, headers, pacing, pages
from .cache import Cache
from .config import Config
from .connect import Connector
from .errors import ClientError, ClientGone, InvalidAnswer, NoLiveUpstreams, ProxyError, UpstreamError
from .exchange import Answer, Exchange, Try
from .forwarder import Forwarder
from .forwarding import Forwarded, Targets
from .guard import Guard
from .headers import first
from .metrics import Metrics
from .probe import Probes
from .routing import Router
from .static import serve, try_files
from .status import Status
from .transport import Outgoing, Transport
from .tunnel import Tunnelled
from .upkeep import Upkeep
from .upload import take
from .zone import Zone

if TYPE_CHECKING:
    from .cachefetch import Fetch
    from .config import ErrorPage, Location, ProxySettings
    from .upload import Upload
    from .upstream import Pool

_NON_IDEMPOTENT = frozenset({"POST", "LOCK", "PATCH"})
_LISTED = {500: "http_500", 502: "http_502", 503: "http_503", 504: "http_504", 403: "http_403", 404: "http_404", 429: "http_429"}
_NEVER_FAILURES = frozenset({403, 404})
MAX_REDIRECTS = 10


def _asked_for(upgrade: str, asked: str) -> bool:
    """Whether a 101 switches to protocols that the client named, and only those (RFC 9110, 7.8)."""
    chosen = set(headers.tokens(upgrade))
    return bool(asked) and bool(chosen) and chosen <= set(headers.tokens(asked))


def spawn(function: Callable[[], None]) -> None:
    """Run something beside the requests: a thread, which gevent makes a greenlet of."""
    threading.Thread(target=function, daemon=True).start()


def _identity(config: Config) -> str:
    """What makes two workers share: the same files with the same text; without files, what the model says of its pools."""
    said = repr(config.files or sorted((name, upstream.servers) for name, upstream in config.upstreams.items()))
    return hashlib.blake2b(said.encode(errors="surrogateescape"), digest_size=16).hexdigest()


class Proxy:
    """One configuration at work in one process: its router, guard, pools, transport and cache."""

    def __init__(self, config: Config, pools: Mapping[str, Pool] | None = None) -> None:
        self.config = config
        self.zone = Zone.open(_identity(config))
        self.router = Router(config)
        self.guard = Guard(config, self.zone)
        self.guard.subrequest = self._subrequest
        self.transport = Transport()
        self.targets = Targets(config, self.zone, pools or {})
        self.probes = Probes.of(config, self.targets.pools, self.zone)
        self.cache = Cache(config.cache_zones, refetch=self._refetch, spawn=spawn, prefix=config.prefix)
        self.metrics = Metrics(self.zone)
        self.upkeep = Upkeep((self.transport.sweep, self.cache.sweep) if config.cache_zones else (self.transport.sweep,))
        self._forwarders: dict[int, Forwarder] = {}
        status = Status(self.metrics, self.targets.pools)
        self._handlers: dict[str, Callable[[Exchange], Answer | str]] = {
            "": serve,
            "static": serve,
            "stub_status": status.stub,
            "status": status.show,
            "tunnel_pass": Connector(self.targets).answer,
        }
        self._finishers: dict[int, finishing.Finisher | None] = {}

    def close(self) -> None:
        """Let go of idle upstream connections and of the cache's files; requests under way are not waited for."""
        self.upkeep.stop()
        self.transport.close()
        self.cache.close()

    # --- the way of a request ---------------------------------------------------------------------------------------------

    def respond(self, x: Exchange) -> Answer:
        """The answer to a request, headers finished; its body must be closed."""
        try:
            answer = self._walk(x)
        except ProxyError as error:
            answer = self._refuse(x, error)
        return self._finish(x, answer)

    def _walk(self, x: Exchange) -> Answer:
        """Where it goes, whether it may, and what answers there."""
        if x.server is None:
            self.router.choose_server(x)
            self.guard.enter(x)
        answer = self.router.route(x)
        if x.connection is not None:
            x.connection.heed(x.location.core)
        if answer is not None:
            return self._special(x, answer.status) if answer.source is pages else answer
        self.guard.admit(x)
        location = x.location
        if location.core.try_files and not x.named_location:
            moved = self._try_files(x)
            if moved is not None:
                return moved
        if location.handler == "proxy_pass":
            return self._forward(x, location)
        return self._content(x, location)

    def _forward(self, x: Exchange, location: Location) -> Answer:
        """Take the answer from the cache, else from an upstream."""
        if location.cache.zone is None:
            return self._ask(x, location)
        found = self.cache.lookup(x, location)
        if isinstance(found, Answer):
            return found
        if found is None:
            return self._ask(x, location)
        try:
            found.prepare(x)
            try:
                return found.store(x, self._ask(x, location, found))
            except UpstreamError as error:
                stale = found.failed(x, error)
                if stale is None:
                    raise
                return stale
        finally:
            found.close()

    def _ask(self, x: Exchange, location: Location, fetch: Fetch | None = None) -> Answer:
        """Take the answer from an upstream; the request's body first, when it is buffered."""
        forwarder = self._forwarders.get(id(location)) or self._make_forwarder(x, location)
        upload = take(x, forwarder.settings, location.core)
        try:
            return self._try_upstreams(x, forwarder, upload, fetch)
        except BaseException:
            if upload is not None:
                upload.close()
            raise

    def _refetch(self, x: Exchange, fetch: Fetch) -> Answer:
        """Ask again for what the cache wants to know, with no client waiting."""
        return self._ask(x, x.location, fetch)

    def _try_upstreams(self, x: Exchange, forwarder: Forwarder, upload: Upload | None, fetch: Fetch | None) -> Answer:
        """The loop: lease a server, send, and go on to the next while the rules allow it."""
        settings = forwarder.settings
        target = self.targets.of(x, forwarder)
        pool = target.pool
        method = settings.method(x).upper() if settings.method is not None else x.method
        if fetch is not None and fetch.method is not None:
            method = fetch.method
        out = Outgoing(method, forwarder.head(x, method, target.path or forwarder.target(x), upload, fetch), upload)
        if fetch is None and not settings.ignore_client_abort:
            out.client = x.connection
        tries_left = settings.next_upstream_tries or pool.tries_limit
        started = time.monotonic()
        while True:
            try:
                lease = pool.lease(x)
            except NoLiveUpstreams as error:
                # nginx names the upstream itself in $upstream_addr then.
                x.tries.append(Try(pool.name))
                x.tries[-1].status = error.status
                raise
            attempt = Try(lease.peer.name)
            x.tries.append(attempt)
            tries_left -= 1
            try:
                if target.judged:
                    destinations.check(x, x.location.guard, lease.peer.address)
                reply = self.transport.send(out, target.route(lease.peer, settings))
                if reply.status == 101 and not _asked_for(reply.head.upgrade, x.upgrade):
                    reply.abort()
                    raise InvalidAnswer("upstream sent a 101 nobody asked for")
            except UpstreamError as error:
                lease.settle(True)
                failure = self._note_failure(x, attempt, error, target.url(lease.peer))
                if not self._may_retry(x, settings, failure.kind, failure.sent, upload, tries_left, started):
                    raise
                continue
            except BaseException:
                lease.settle(False)
                raise
            attempt.status = reply.status
            attempt.connect_time = reply.connect_time
            attempt.header_time = reply.header_time
            listed = _LISTED.get(reply.status)
            if (
                listed in settings.next_upstream
                and tries_left > 0
                and self._may_retry(x, settings, listed, True, upload, tries_left, started)
            ):
                reply.abort()
                lease.settle(reply.status not in _NEVER_FAILURES)
                continue
            return self._take_reply(x, forwarder, Forwarded(reply, lease, attempt, upload, settings))

    def _take_reply(self, x: Exchange, forwarder: Forwarder, body: Forwarded) -> Answer:
        """A good try: its fields as the client gets them, its body as it comes."""
        reply = body.reply
        settings = forwarder.settings
        x.upstream_pairs = reply.pairs
        if reply.status == 101:
            return Answer(101, forwarder.answer_headers(x, reply.pairs), Tunnelled(body, x.upgrade, settings.read_timeout))
        if reply.special:
            moved = self._accelerated(x, settings.ignore_headers, body)
            if moved is not None:
                return moved
            rate = pacing.accelerated(reply.pairs, settings.ignore_headers)
            if rate is not None:
                x.limit_rate = rate
        if settings.limit_rate is not None:
            body.rate = pacing.evaluated(settings.limit_rate, x)
        if settings.intercept_errors and reply.status >= 300 and self._error_page(x, reply.status) is not None:
            body.close()
            return self._special(x, reply.status)
        answer = Answer(reply.status, forwarder.answer_headers(x, reply.pairs), body, reason=reply.reason)
        cookie = body.lease.sticky_cookie()
        if cookie is not None:
            answer.headers.append(("Set-Cookie", cookie))
        answer.length = reply.content_length
        answer.source = reply
        return answer

    # --- when it goes wrong -----------------------------------------------------------------------------------------------

    def _note_failure(self, x: Exchange, attempt: Try, error: UpstreamError, url: str) -> UpstreamError:
        """Record a failed try, and say in one line which server and why."""
        attempt.status = error.status
        attempt.error = str(error)
        attempt.response_time = time.time() - attempt.started
        errorlog.line("error", str(error), x, url)
        if x.trace is not None:
            x.why("upstream", f"{attempt.address} failed: {error}")
        return error

    def _may_retry(
        self, x: Exchange, settings: ProxySettings, kind: str, sent: bool, upload: Upload | None, tries_left: int, started: float
    ) -> bool:
        """Whether the next server may have a try (ngx_http_upstream_next)."""
        kinds = settings.next_upstream
        if tries_left <= 0 or kind not in kinds:
            return False
        if sent and x.method in _NON_IDEMPOTENT and "non_idempotent" not in kinds:
            return False
        limit = settings.next_upstream_timeout
        if limit and time.monotonic() - started >= limit:
            return False
        return upload is None or upload.rewind()

    def _refuse(self, x: Exchange, error: ProxyError) -> Answer:
        """The page for a fault, and its line in the log."""
        if isinstance(error, NoLiveUpstreams):
            errorlog.line("error", str(error), x, x.upstream_name)
        elif isinstance(error, ClientError | ClientGone):
            if str(error):
                errorlog.line("info", str(error), x)
        elif not isinstance(error, UpstreamError):
            errorlog.line("error", str(error), x)
        answer = self._special(x, error.status)
        answer.headers += getattr(error, "headers", ())
        return answer

    def _special(self, x: Exchange, status: int) -> Answer:
        """The answer for a status that nothing else answers: what `error_page` says, else the standard page."""
        rule = self._error_page(x, status)
        if rule is not None:
            try:
                return self._error_page_answer(x, status, rule)
            except ProxyError as error:
                # What went wrong now is what the client is told, as in nginx.
                return self._refuse(x, error)
        x.error_response = 0
        return finishing.standard_page(x, status)

    def _error_page(self, x: Exchange, status: int) -> ErrorPage | None:
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

    def _error_page_answer(self, x: Exchange, status: int, rule: ErrorPage) -> Answer:
        """Follow an `error_page`: an internal redirect, a named location, or a redirect of the client."""
        x.error_status = status
        x.error_response = status if rule.response is None else rule.response
        uri = rule.uri(x)
        if uri.startswith("@"):
            self.router.named(x, uri)
        elif uri.startswith("/"):
            if x.method != "HEAD":
                x.method = "GET"
            path, mark, args = uri.partition("?")
            self.router.redirect(x, path, args if mark else None)
        else:
            code = rule.response if rule.response in (301, 302, 303, 307, 308) else 302
            return finishing.redirect_page(x, code, uri)
        answer = self._walk(x)
        if x.error_response:
            answer.status, answer.reason = x.error_response, ""
        return answer

    # --- other ways to an answer ------------------------------------------------------------------------------------------

    def _try_files(self, x: Exchange) -> Answer | None:
        """Follow `try_files`: None when the location itself goes on with the file that was found."""
        outcome = try_files(x)
        if outcome is None:
            return None
        if isinstance(outcome, int):
            return self._special(x, outcome)
        if outcome.startswith("@"):
            self.router.named(x, outcome)
        else:
            path, mark, args = outcome.partition("?")
            self.router.redirect(x, path, args if mark else None)
        return self._walk(x)

    def _accelerated(self, x: Exchange, ignored: frozenset[str], body: Forwarded) -> Answer | None:
        """`X-Accel-Redirect`: the upstream names the place that answers instead of it."""
        uri = first(body.reply.pairs, "x-accel-redirect")
        if not uri or "x-accel-redirect" in ignored:
            return None
        body.close()
        if uri.startswith("@"):
            self.router.named(x, uri)
        else:
            path, mark, args = uri.partition("?")
            if x.method != "HEAD":
                x.method = "GET"
            self.router.redirect(x, unquote(path, "latin-1"), args if mark else "")
        return self._walk(x)

    def _content(self, x: Exchange, location: Location) -> Answer:
        """A location without `proxy_pass`; a URI in place of an answer is a redirect within (an index of a folder)."""
        answer = self._handlers[location.handler](x)
        if isinstance(answer, str):
            self.router.redirect(x, answer, x.args)
            return self._walk(x)
        return self._special(x, answer.status) if answer.source is pages else answer

    def _subrequest(self, x: Exchange, uri: str) -> Answer:
        """A request of our own on a client's behalf, without its body (auth_request). Its body must be closed."""
        inner = Exchange(dict(x.environ, REQUEST_METHOD="GET"))
        inner.pairs = [pair for pair in x.pairs if pair[0].lower() not in ("content-length", "transfer-encoding")]
        inner.content_length, inner.chunked = None, False
        inner.server, inner.remote_addr, inner.variables = x.server, x.remote_addr, x.variables
        inner.method = "GET"
        inner.subrequest = True
        inner.subrequest = True
        inner.redirects = x.redirects + 1
        if inner.redirects > MAX_REDIRECTS:
            raise ProxyError("subrequests cycle")
        path, mark, args = uri.partition("?")
        self.router.redirect(inner, path, args if mark else "")
        return self._walk(inner)

    # --- what is prepared -------------------------------------------------------------------------------------------------

    def _make_forwarder(self, x: Exchange, location: Location) -> Forwarder:
        forwarder = Forwarder(
            location,
            underscores=x.server.underscores_in_headers,
            ignore_invalid=x.server.ignore_invalid_headers,
        )
        self._forwarders[id(location)] = forwarder
        return forwarder

    def _finish(self, x: Exchange, answer: Answer) -> Answer:
        """`add_header`, `expires` and the like, where the location has any."""
        location = x.location_or_none
        if location is not None:
            key = id(location)
            if key not in self._finishers:
                self._finishers[key] = finishing.compile_finisher(location)
            finisher = self._finishers[key]
            if finisher is not None:
                finisher(x, answer)
            if location.core.limit_rate is not None or x.limit_rate is not None:
                pacing.pace(x, answer)
        x.status = answer.status
        x.answer = answer
        return answer
