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
from ..errors import ClientError, ClientGone, InvalidResponse, NoLiveUpstreams, ProxyError, UpstreamError
from ..exchange import Exchange
from ..http import Pairs, headers, pages, tokens
from ..logs import errorlog
from ..response import Attempt, Response
from ..routing import Router
from ..shm import SharedMemory
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


def _client(exchange: Exchange) -> Any:
    """Who may leave before the answer is there: the worker's connection, else what can be watched; None where that cannot be."""
    return exchange.connection if exchange.connection is not None else watched(exchange.environ)


def _asked_for(upgrade: str, asked: str) -> bool:
    """Whether a 101 switches to protocols that the client named, and only those (RFC 9110, 7.8)."""
    chosen = tokens(upgrade)
    return bool(asked) and bool(chosen) and chosen <= tokens(asked)


def _nothing(exchange: Exchange) -> Response:
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
        self.zone = SharedMemory.open(_identity(config))
        self.router = Router(config)
        self.detours = Detours(self.router, self._walk)
        self.guard = Guard(config, self.zone)
        self.guard.subrequest = self.detours.subrequest
        self.transport = Transport()
        self.targets = Targets(config, self.zone, pools or {})
        self.probes = Probes.of(config, self.targets.pools, self.zone)
        self.cache = Cache(config.cache_zones, refetch=self._refetch, spawn=spawn, sent=self._sent_fields, prefix=config.prefix)
        self.metrics = Metrics(self.zone)
        self.upkeep = Upkeep((self.transport.sweep, self.cache.sweep) if config.cache_zones else (self.transport.sweep,))
        self._forwarders: dict[int, Forwarder] = {}
        status = Status(self.metrics, self.targets.pools)
        self._handlers: dict[str, Callable[[Exchange], Response | str]] = {
            "": serve,
            "static": serve,
            "none": _nothing,
            "stub_status": status.stub,
            "status": status.show,
            "tunnel_pass": Connector(self.targets).response,
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

    def respond(self, exchange: Exchange) -> Response:
        """The answer to a request, headers finished; its body must be closed."""
        try:
            response = self._walk(exchange)
        except ProxyError as error:
            response = self.detours.refuse(exchange, error)
        if exchange.kept or exchange.content_type:
            response_headers.keep(exchange, response)
        return self._finish(exchange, response)

    def _walk(self, exchange: Exchange) -> Response:
        """Where it goes, whether it may, and what answers there."""
        if exchange.server is None:
            self.router.choose_server(exchange)
            self.guard.enter(exchange)
        response = self.router.route(exchange)
        if exchange.absolute and not exchange.internal:
            destinations.check_scheme(exchange)
        if exchange.connection is not None and not exchange.subrequest:
            exchange.connection.heed(exchange.location.core)
        if response is not None:
            return self.detours.special(exchange, response.status) if response.source is pages else response
        self.guard.admit(exchange)
        location = exchange.location
        if location.core.try_files and not exchange.named_location:
            moved = self.detours.try_files(exchange)
            if moved is not None:
                return moved
        if location.handler == "proxy_pass":
            return self._forward(exchange, location)
        return self._content(exchange, location)

    def _forward(self, exchange: Exchange, location: Location) -> Response:
        """Take the answer from the cache, else from an upstream."""
        if exchange.method == "OPTIONS" and headers.hops_left(exchange.environ.get("HTTP_MAX_FORWARDS", "")) == -1:
            # RFC 9110, 7.6.2: it is for the last proxy that it reaches.
            return Response(200, [("Content-Length", "0")], length=0)
        if location.cache.zone is None:
            return self._ask(exchange, location)
        if (exchange.chunked or exchange.content_length) and location.proxy.request_buffering:
            # As in nginx the body comes before the cache, whose key may name it ($request_body).
            collect(exchange, location.core)
        found = self.cache.lookup(exchange, location)
        if found is None:
            return self._ask(exchange, location)
        if isinstance(found, Response):
            return self._rewritten(exchange, location, found)
        try:
            found.prepare(exchange)
            try:
                response = found.store(exchange, self._ask(exchange, location, found))
                if type(response.body) is Forwarded and not location.proxy.ignore_client_abort:
                    # Not stored: then it is this client's alone.
                    client = _client(exchange)
                    if client is not None:
                        response.body.attend(client)
            except UpstreamError as error:
                stale = found.failed(exchange, error)
                if stale is None:
                    raise
                response = stale
            response = self._rewritten(exchange, location, response)
            if found.cookie is not None:
                response.headers.append(("Set-Cookie", found.cookie))
            return response
        finally:
            found.close()

    def _rewritten(self, exchange: Exchange, location: Location, response: Response) -> Response:
        """What passed the cache with the upstream's own fields, as this location sends it to this client."""
        if response.raw:
            response.raw = False
            forwarder = self._forwarders.get(id(location)) or self._make_forwarder(exchange, location)
            entry = response.source if isinstance(response.source, Entry) else None
            if entry is not None:
                exchange.upstream_pairs = entry.headers
            response.headers = forwarder.response_headers(exchange, response.headers, stored=entry is not None)
        return response

    def _sent_fields(self, exchange: Exchange, location: Location, names: tuple[str, ...]) -> Pairs:
        """The fields of these names as the location forwards them: what the cache tells variants apart by."""
        forwarder = self._forwarders.get(id(location)) or self._make_forwarder(exchange, location)
        return forwarder.sent(exchange, names)

    def _ask(self, exchange: Exchange, location: Location, fetch: Fetch | None = None) -> Response:
        """Take the answer from an upstream; the request's body first, when it is buffered."""
        forwarder = self._forwarders.get(id(location)) or self._make_forwarder(exchange, location)
        upload = take(exchange, forwarder.settings, location.core)
        try:
            return self._try_upstreams(exchange, forwarder, upload, fetch)
        except BaseException:
            if upload is not None:
                upload.close()
            raise

    def _refetch(self, exchange: Exchange, fetch: Fetch) -> Response:
        """Ask again for what the cache wants to know, with no client waiting."""
        exchange.environ = {**exchange.environ}
        exchange.environ.pop("wsgi.early_hints", None)
        return self._ask(exchange, exchange.location, fetch)

    def _try_upstreams(self, exchange: Exchange, forwarder: Forwarder, upload: Upload | None, fetch: Fetch | None) -> Response:
        """The loop: lease a server, send, and go on to the next while the rules allow it."""
        settings = forwarder.settings
        target = self.targets.of(exchange, forwarder)
        exchange.tried = None
        if exchange.tries:
            # A redirect within came here: every server may be asked again, and the variables show another group of tries.
            exchange.tries.append(Attempt(""))
        pool = target.pool
        method = settings.method(exchange).upper() if settings.method is not None else exchange.method
        if fetch is not None and fetch.method is not None:
            method = fetch.method
        out = Outgoing(method, forwarder.head(exchange, method, target.path or forwarder.target(exchange), upload, fetch), upload)
        if exchange.upgrade:
            require_connection(exchange)
        if fetch is None and not settings.ignore_client_abort:
            out.client = _client(exchange)
        if exchange.location.core.early_hints and not exchange.subrequest and "wsgi.early_hints" in exchange.environ:
            out.hints = partial(self._pass_hints, exchange, forwarder)
        retries = Retries(settings, exchange.method, settings.next_upstream_tries or pool.tries_limit, upload, time.monotonic)
        while True:
            lease = self._lease(exchange, pool)
            attempt = exchange.tries[-1]
            retries.left -= 1
            try:
                if target.judged:
                    destinations.check(exchange, exchange.location.guard, lease.peer.address)
                reply = self.transport.send(out, target.route(lease.peer, settings))
                if reply.status == 101 and not _asked_for(reply.head.upgrade, exchange.upgrade):
                    reply.abort()
                    raise InvalidResponse("upstream sent a 101 nobody asked for")
            except UpstreamError as error:
                lease.settle(True)
                # Kept by no name that outlives this clause: its traceback holds this frame, and with it all that the request had.
                self._note_failure(exchange, attempt, error, target.url(lease.peer))
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
            return self._take_reply(exchange, forwarder, Forwarded(reply, lease, attempt, upload, settings), fetch)

    def _pass_hints(self, exchange: Exchange, forwarder: Forwarder, pairs: Pairs) -> None:
        """Pass a 103 (Early Hints) on to the client where `early_hints` says so (RFC 8297; ngx_http_core_module)."""
        if all(condition(exchange) in ("", "0") for condition in exchange.location.core.early_hints):
            return
        fields = [pair for pair in forwarder.response_headers(exchange, pairs) if pair[0].lower() not in _FRAMING]
        if fields:
            try:
                exchange.environ["wsgi.early_hints"](fields)
            except OSError as error:
                raise ClientGone(f"sending early hints failed: {error}") from error

    def _lease(self, exchange: Exchange, pool: Pool) -> Lease:
        """A server for the next try, and the try on the record."""
        try:
            lease = pool.lease(exchange)
        except NoLiveUpstreams as error:
            # nginx names the upstream itself in $upstream_addr then.
            exchange.tries.append(Attempt(pool.name))
            exchange.tries[-1].status = error.status
            raise
        exchange.tries.append(Attempt(lease.peer.name))
        return lease

    def _take_reply(self, exchange: Exchange, forwarder: Forwarder, body: Forwarded, fetch: Fetch | None) -> Response:
        """A good try: its fields as the client gets them (as they came where the cache may store them), its body as it comes."""
        reply = body.reply
        settings = forwarder.settings
        exchange.upstream_pairs = reply.pairs
        if reply.status == 101:
            idle = settings.read_timeout if settings.stream_timeout is None else settings.stream_timeout
            return Response(101, forwarder.response_headers(exchange, reply.pairs), Tunnelled(body, exchange.upgrade, idle))
        if settings.intercept_errors and reply.status >= 300 and self.detours.error_page(exchange, reply.status) is not None:
            body.close()
            return self.detours.special(exchange, reply.status)
        if reply.special:
            rate = pacing.accelerated(reply.pairs, settings.ignore_headers)
            if rate is not None:
                exchange.limit_rate = rate
            moved = self.detours.accelerated(exchange, forwarder, body)
            if moved is not None:
                return moved
        if settings.limit_rate is not None:
            body.rate = pacing.evaluated(settings.limit_rate, exchange)
        raw = fetch is not None and not fetch.unsafe
        pairs = list(reply.pairs) if raw else forwarder.response_headers(exchange, reply.pairs)
        response = Response(reply.status, pairs, body, reason=reply.reason)
        response.raw = raw
        cookie = body.lease.sticky_cookie()
        if cookie is not None:
            if fetch is not None and raw:
                fetch.cookie = cookie
            else:
                response.headers.append(("Set-Cookie", cookie))
        response.length = reply.content_length
        response.source = reply
        return response

    # --- when it goes wrong -----------------------------------------------------------------------------------------------

    def _note_failure(self, exchange: Exchange, attempt: Attempt, error: UpstreamError, url: str) -> None:
        """Record a failed try, and say in one line which server and why."""
        attempt.status = error.status
        attempt.error = str(error)
        attempt.response_time = time.time() - attempt.started
        errorlog.line("error", str(error), exchange, url)
        if exchange.trace is not None:
            exchange.why("upstream", f"{attempt.address} failed: {error}")

    def _content(self, exchange: Exchange, location: Location) -> Response:
        """A location without `proxy_pass`; a URI in place of an answer is a redirect within (an index of a folder)."""
        response = self._handlers[location.handler](exchange)
        if isinstance(response, str):
            self.router.redirect(exchange, response, exchange.args)
            return self._walk(exchange)
        return self.detours.special(exchange, response.status) if response.source is pages else response

    # --- what is prepared -------------------------------------------------------------------------------------------------

    def _make_forwarder(self, exchange: Exchange, location: Location) -> Forwarder:
        forwarder = Forwarder(
            location,
            underscores=exchange.server.underscores_in_headers,
            ignore_invalid=exchange.server.ignore_invalid_headers,
        )
        self._forwarders[id(location)] = forwarder
        return forwarder

    def _finish(self, exchange: Exchange, response: Response) -> Response:
        """`add_header`, `expires` and the like, where the location has any."""
        location = exchange.location_or_none
        if location is not None:
            key = id(location)
            if key not in self._finishers:
                self._finishers[key] = response_headers.compile_finisher(location)
            finisher = self._finishers[key]
            if finisher is not None:
                finisher(exchange, response)
            if location.core.limit_rate is not None or exchange.limit_rate is not None:
                pacing.pace(exchange, response)
        exchange.status = response.status
        exchange.response = response
        return response
