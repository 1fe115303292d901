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
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from ..access import Guard, destinations
from ..cache import Cache, Entry
from ..config import Config
from ..errors import ClientError, ClientGone, InvalidAnswer, NoLiveUpstreams, ProxyError, UpstreamError
from ..exchange import Answer, Exchange, Pairs, Attempt
from ..http import headers, pages
from ..logs import errorlog
from ..routing import Router
from ..shm import Zone
from ..static import serve
from ..status import Metrics, Status
from ..transport import Outgoing, Transport, watched
from ..tunnel import Tunnelled, require_connection
from ..upstream import Probes
from . import pacing, response_headers
from .connect import Connector
from .forwarder import Forwarder
from .forwarding import Forwarded, Targets
from .internal_redirects import Detours
from .request_body import collect, take
from .retries import LISTED, NEVER_FAILURES, Retries
from .upkeep import Upkeep

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ..cache import Fetch
    from ..config import Location
    from ..upstream import Lease, Pool
    from .request_body import Upload



_FRAMING = frozenset({"content-length", "transfer-encoding"})
"""Fields that say nothing in a 1xx, which has no body (RFC 9110, section 8.6)."""


def _client(x: Exchange) -> Any:
    """Who may leave before the answer is there: the worker's connection, else what can be watched; None where that cannot be."""
    return x.connection if x.connection is not None else watched(x.environ)


def _asked_for(upgrade: str, asked: str) -> bool:
    """Whether a 101 switches to protocols that the client named, and only those (RFC 9110, 7.8)."""
    chosen = set(headers.tokens(upgrade))
    return bool(asked) and bool(chosen) and chosen <= set(headers.tokens(asked))


def _nothing(x: Exchange) -> Answer:
    """Answer 404: a configuration made in Python serves no files."""
    raise ClientError(status=404)


def spawn(function: Callable[[], None]) -> None:
    """Run something beside the requests: a thread, which gevent makes a greenlet of."""
    threading.Thread(target=function, daemon=True).start()


def _identity(config: Config) -> str:
    """What makes two workers share: the same files with the same text; without files, what the model says of its pools."""
    said = repr(config.files or sorted((name, upstream.servers) for name, upstream in config.upstreams.items()))
    return hashlib.blake2b(said.encode(errors="surrogateescape"), digest_size=16).hexdigest()


@mypyc_attr(allow_interpreted_subclasses=True)
class Proxy:
    """One configuration at work in one process: its router, guard, pools, transport and cache."""

    def __init__(self, config: Config, pools: Mapping[str, Pool] | None = None) -> None:
        self.config = config
        self.zone = Zone.open(_identity(config))
        self.router = Router(config)
        self.detours = Detours(self.router, self._walk)
        self.guard = Guard(config, self.zone)
        self.guard.subrequest = self.detours.subrequest
        self.transport = Transport()
        self.targets = Targets(config, self.zone, pools or {})
        self.probes = Probes.of(config, self.targets.pools, self.zone)
        self.cache = Cache(
            config.cache_zones, refetch=self._refetch, spawn=spawn, sent=self._sent_fields, prefix=config.prefix
        )
        self.metrics = Metrics(self.zone)
        self.upkeep = Upkeep((self.transport.sweep, self.cache.sweep) if config.cache_zones else (self.transport.sweep,))
        self._forwarders: dict[int, Forwarder] = {}
        status = Status(self.metrics, self.targets.pools)
        self._handlers: dict[str, Callable[[Exchange], Answer | str]] = {
            "": serve,
            "static": serve,
            "none": _nothing,
            "stub_status": status.stub,
            "status": status.show,
            "tunnel_pass": Connector(self.targets).answer,
        }
        self._finishers: dict[int, response_headers.Finisher | None] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """What makes it an application (PEP 3333); see wsgi.py."""
        # Here too, because mypyc lays a class that alone adds a __call__ out differently from the one it inherits from.
        raise NotImplementedError

    def close(self) -> None:
        """Let go of idle upstream connections and of the cache's files; requests under way are not waited for."""
        self.upkeep.stop()
        self.probes.stop()
        self.transport.close()
        self.cache.close()

    # --- the way of a request ---------------------------------------------------------------------------------------------

    def respond(self, x: Exchange) -> Answer:
        """The answer to a request, headers finished; its body must be closed."""
        try:
            answer = self._walk(x)
        except ProxyError as error:
            answer = self.detours.refuse(x, error)
        if x.kept or x.content_type:
            response_headers.keep(x, answer)
        return self._finish(x, answer)

    def _walk(self, x: Exchange) -> Answer:
        """Where it goes, whether it may, and what answers there."""
        if x.server is None:
            self.router.choose_server(x)
            self.guard.enter(x)
        answer = self.router.route(x)
        if x.absolute and not x.internal:
            destinations.check_scheme(x)
        if x.connection is not None and not x.subrequest:
            x.connection.heed(x.location.core)
        if answer is not None:
            return self.detours.special(x, answer.status) if answer.source is pages else answer
        self.guard.admit(x)
        location = x.location
        if location.core.try_files and not x.named_location:
            moved = self.detours.try_files(x)
            if moved is not None:
                return moved
        if location.handler == "proxy_pass":
            return self._forward(x, location)
        return self._content(x, location)

    def _forward(self, x: Exchange, location: Location) -> Answer:
        """Take the answer from the cache, else from an upstream."""
        if x.method == "OPTIONS" and headers.hops_left(x.environ.get("HTTP_MAX_FORWARDS", "")) == -1:
            # RFC 9110, 7.6.2: it is for the last proxy that it reaches.
            return Answer(200, [("Content-Length", "0")], length=0)
        if location.cache.zone is None:
            return self._ask(x, location)
        if (x.chunked or x.content_length) and location.proxy.request_buffering:
            # As in nginx the body comes before the cache, whose key may name it ($request_body).
            collect(x, location.core)
        found = self.cache.lookup(x, location)
        if found is None:
            return self._ask(x, location)
        if isinstance(found, Answer):
            return self._rewritten(x, location, found)
        try:
            found.prepare(x)
            try:
                answer = found.store(x, self._ask(x, location, found))
                if type(answer.body) is Forwarded and not location.proxy.ignore_client_abort:
                    # Not stored: then it is this client's alone.
                    client = _client(x)
                    if client is not None:
                        answer.body.attend(client)
            except UpstreamError as error:
                stale = found.failed(x, error)
                if stale is None:
                    raise
                answer = stale
            answer = self._rewritten(x, location, answer)
            if found.cookie is not None:
                answer.headers.append(("Set-Cookie", found.cookie))
            return answer
        finally:
            found.close()

    def _rewritten(self, x: Exchange, location: Location, answer: Answer) -> Answer:
        """What passed the cache with the upstream's own fields, as this location sends it to this client."""
        if answer.raw:
            answer.raw = False
            forwarder = self._forwarders.get(id(location)) or self._make_forwarder(x, location)
            entry = answer.source if isinstance(answer.source, Entry) else None
            if entry is not None:
                x.upstream_pairs = entry.headers
            answer.headers = forwarder.answer_headers(x, answer.headers, stored=entry is not None)
        return answer

    def _sent_fields(self, x: Exchange, location: Location, names: tuple[str, ...]) -> Pairs:
        """The fields of these names as the location forwards them: what the cache tells variants apart by."""
        forwarder = self._forwarders.get(id(location)) or self._make_forwarder(x, location)
        return forwarder.sent(x, names)

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
        x.environ = {**x.environ}
        x.environ.pop("wsgi.early_hints", None)
        return self._ask(x, x.location, fetch)

    def _try_upstreams(self, x: Exchange, forwarder: Forwarder, upload: Upload | None, fetch: Fetch | None) -> Answer:
        """The loop: lease a server, send, and go on to the next while the rules allow it."""
        settings = forwarder.settings
        target = self.targets.of(x, forwarder)
        x.tried = None
        if x.tries:
            # A redirect within came here: every server may be asked again, and the variables show another group of tries.
            x.tries.append(Attempt(""))
        pool = target.pool
        method = settings.method(x).upper() if settings.method is not None else x.method
        if fetch is not None and fetch.method is not None:
            method = fetch.method
        out = Outgoing(method, forwarder.head(x, method, target.path or forwarder.target(x), upload, fetch), upload)
        if x.upgrade:
            require_connection(x)
        if fetch is None and not settings.ignore_client_abort:
            out.client = _client(x)
        if x.location.core.early_hints and not x.subrequest and "wsgi.early_hints" in x.environ:
            out.hints = partial(self._pass_hints, x, forwarder)
        retries = Retries(settings, x.method, settings.next_upstream_tries or pool.tries_limit, upload, time.monotonic)
        while True:
            lease = self._lease(x, pool)
            attempt = x.tries[-1]
            retries.left -= 1
            try:
                if target.judged:
                    destinations.check(x, x.location.guard, lease.peer.address)
                reply = self.transport.send(out, target.route(lease.peer, settings))
                if reply.status == 101 and not _asked_for(reply.head.upgrade, x.upgrade):
                    reply.abort()
                    raise InvalidAnswer("upstream sent a 101 nobody asked for")
            except UpstreamError as error:
                lease.settle(True)
                # Kept by no name that outlives this clause: its traceback holds this frame, and with it all that the request had.
                self._note_failure(x, attempt, error, target.url(lease.peer))
                if not retries.may(error.kind, error.sent):
                    raise
                continue
            except BaseException:
                lease.settle(False)
                raise
            attempt.status = reply.status
            attempt.connect_time = reply.connect_time
            attempt.header_time = reply.header_time
            if reply.status >= 400 and retries.may(LISTED.get(reply.status), True):
                reply.abort()
                lease.settle(reply.status not in NEVER_FAILURES)
                continue
            return self._take_reply(x, forwarder, Forwarded(reply, lease, attempt, upload, settings), fetch)

    def _pass_hints(self, x: Exchange, forwarder: Forwarder, pairs: Pairs) -> None:
        """Pass a 103 (Early Hints) on to the client where `early_hints` says so (RFC 8297; ngx_http_core_module)."""
        if all(condition(x) in ("", "0") for condition in x.location.core.early_hints):
            return
        fields = [pair for pair in forwarder.answer_headers(x, pairs) if pair[0].lower() not in _FRAMING]
        if fields:
            try:
                x.environ["wsgi.early_hints"](fields)
            except OSError as error:
                raise ClientGone(f"sending early hints failed: {error}") from error

    def _lease(self, x: Exchange, pool: Pool) -> Lease:
        """A server for the next try, and the try on the record."""
        try:
            lease = pool.lease(x)
        except NoLiveUpstreams as error:
            # nginx names the upstream itself in $upstream_addr then.
            x.tries.append(Attempt(pool.name))
            x.tries[-1].status = error.status
            raise
        x.tries.append(Attempt(lease.peer.name))
        return lease

    def _take_reply(self, x: Exchange, forwarder: Forwarder, body: Forwarded, fetch: Fetch | None) -> Answer:
        """A good try: its fields as the client gets them (as they came where the cache may store them), its body as it comes."""
        reply = body.reply
        settings = forwarder.settings
        x.upstream_pairs = reply.pairs
        if reply.status == 101:
            idle = settings.read_timeout if settings.stream_timeout is None else settings.stream_timeout
            return Answer(101, forwarder.answer_headers(x, reply.pairs), Tunnelled(body, x.upgrade, idle))
        if settings.intercept_errors and reply.status >= 300 and self.detours.error_page(x, reply.status) is not None:
            body.close()
            return self.detours.special(x, reply.status)
        if reply.special:
            rate = pacing.accelerated(reply.pairs, settings.ignore_headers)
            if rate is not None:
                x.limit_rate = rate
            moved = self.detours.accelerated(x, forwarder, body)
            if moved is not None:
                return moved
        if settings.limit_rate is not None:
            body.rate = pacing.evaluated(settings.limit_rate, x)
        raw = fetch is not None and not fetch.unsafe
        pairs = list(reply.pairs) if raw else forwarder.answer_headers(x, reply.pairs)
        answer = Answer(reply.status, pairs, body, reason=reply.reason)
        answer.raw = raw
        cookie = body.lease.sticky_cookie()
        if cookie is not None:
            if fetch is not None and raw:
                fetch.cookie = cookie
            else:
                answer.headers.append(("Set-Cookie", cookie))
        answer.length = reply.content_length
        answer.source = reply
        return answer

    # --- when it goes wrong -----------------------------------------------------------------------------------------------

    def _note_failure(self, x: Exchange, attempt: Attempt, error: UpstreamError, url: str) -> None:
        """Record a failed try, and say in one line which server and why."""
        attempt.status = error.status
        attempt.error = str(error)
        attempt.response_time = time.time() - attempt.started
        errorlog.line("error", str(error), x, url)
        if x.trace is not None:
            x.why("upstream", f"{attempt.address} failed: {error}")

    def _content(self, x: Exchange, location: Location) -> Answer:
        """A location without `proxy_pass`; a URI in place of an answer is a redirect within (an index of a folder)."""
        answer = self._handlers[location.handler](x)
        if isinstance(answer, str):
            self.router.redirect(x, answer, x.args)
            return self._walk(x)
        return self.detours.special(x, answer.status) if answer.source is pages else answer

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
                self._finishers[key] = response_headers.compile_finisher(location)
            finisher = self._finishers[key]
            if finisher is not None:
                finisher(x, answer)
            if location.core.limit_rate is not None or x.limit_rate is not None:
                pacing.pace(x, answer)
        x.status = answer.status
        x.answer = answer
        return answer
