"""The request path, from routing to the finished response.

    Router.choose_server, Guard.enter, Router.route, Connection.heed, Guard.admit, try_files, then the location's handler;
    for `proxy_pass`: Cache.lookup, UpstreamRequests.ask, Fetch.store, Forwarder.response_headers; at the end the finisher

Rules:
- `respond` always returns a Response. A ProxyError of any package becomes the page for its status, by `error_page` or standard.
- An internal redirect (`try_files`, `error_page`, `X-Accel-Redirect`, an index) enters the path again at `Router.route`.
- Everything known about a location before the request is in its CompiledLocation.
- Each decision is written on the Exchange.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from ..access import Guard, check_unread, destinations
from ..cache import Cache, Entry
from ..cluster import Membership
from ..config import FORWARDING, Config
from ..errors import ClientError, ProxyError, UpstreamError
from ..exchange import Exchange
from ..http import headers, pages
from ..keyval import Zones
from ..response import Response
from ..routing import Router, complete_location
from ..shm import kept_memory_of, memory_of
from ..static import keep, serve, serve_empty_gif
from ..status import Metrics, Sources, Status, location_name, server_names
from ..tracing import begin
from ..transport import Transport
from ..upstream.sync import probes_of
from . import pacing, response_headers
from .connect import Tunnel
from .internal_redirects import Detours
from .location import CompiledLocation
from .request_body import collect
from .subrequests import Mirrors, Subrequests, sliced
from .targets import Targets
from .upstream_body import Forwarded
from .upstream_request import UpstreamRequests, client_of, ranged

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ..cache import CachePlan, Fetch
    from ..config import Location, ServerBlock
    from ..upstream import Pool


def _nothing(exchange: Exchange) -> Response:
    """Answer 404: a configuration made in Python serves no files."""
    raise ClientError(status=404)


def spawn(function: Callable[[], None]) -> None:
    """Run a function in another thread, which gevent turns into a greenlet."""
    threading.Thread(target=function, daemon=True).start()


@mypyc_attr(allow_interpreted_subclasses=True)
class Proxy:
    """One configuration at work in one process: its router, guard, pools, transport and cache."""

    def __init__(self, config: Config, pools: Mapping[str, Pool] | None = None) -> None:
        self.config = config
        self.zone = memory_of(config)
        self.membership = None if config.cluster is None else Membership(config.cluster, self.zone)
        """The place of this worker in the cluster; None without `wsgi_proxy_cluster`."""
        self.guard = Guard(config, self.zone, self.membership)
        self.transport = Transport()
        self.targets = Targets(config, self.zone, pools or {})
        kept = kept_memory_of(config)
        self.metrics = Metrics(kept)
        self.keyvals = Zones(config, kept, self.membership)
        self.keyvals.serve(self.targets.pools.values())
        self.probes = probes_of(config, self.targets.pools, self.zone, self.metrics.checked, self.membership)
        self.cache = Cache(config.cache_zones, refetch=self._refetch, spawn=spawn, prefix=config.prefix)
        self.metrics.use(self.targets.pools, config.cache_zones)
        self.guard.count_in(self.metrics)
        self.metrics.checked_pools = {probe.pool.name for probe in self.probes.probes}
        self._server_names = server_names(config.servers)
        pools = self.targets.pools
        self.status = Sources(config, self.metrics, pools, self.cache, self._server_names, self.keyvals, self.membership)
        status = Status(self.status)
        self._handlers: dict[str, Callable[[Exchange], Response]] = {
            "": serve,
            "static": serve,
            "none": _nothing,
            "empty_gif": serve_empty_gif,
            "stub_status": status.stub,
            "status": status.show,
        }
        self.router = Router(config, self._compile)
        self.detours = Detours(self.router, self._walk)
        self.subrequests = Subrequests(self.router, self.respond)
        self.guard.subrequest = self.subrequests.check
        self.mirrors = Mirrors(self.subrequests, spawn)
        self.requests = UpstreamRequests(self.transport, self.targets, self.detours)

    def _compile(self, server: ServerBlock, location: Location) -> CompiledLocation:
        """Return everything about a location that is known before its first request."""
        handler: Callable[[Exchange], Response] | None = None
        if location.handler == "tunnel_pass":
            handler = Tunnel(location.tunnel, self.targets)
        elif location.handler not in FORWARDING:
            handler = self._handlers[location.handler]
        counter = None
        if location.handler not in ("status", "stub_status"):
            counter = self.metrics.location(self._server_names[id(server)], location_name(location))
        compiled = CompiledLocation(location, server, self.guard.plan(location.guard), self.targets, handler, counter)
        named = pages.product(location.core)
        if named != pages.product(self.config.core):
            compiled.finisher = response_headers.naming_server(named, compiled.finisher)
        return compiled

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333); implemented by `wsgi.ProxyApp`."""
        # Declared here, because mypyc lays out a class that adds __call__ differently from the class it inherits from.
        raise NotImplementedError

    def close(self) -> None:
        """Close idle upstream connections and the cache's files without waiting for requests in progress."""
        self.probes.stop()
        self.transport.close()
        self.cache.close()
        if self.membership is not None:
            self.membership.close()

    # --- the request path -----------------------------------------------------------------------------------------------------

    def respond(self, exchange: Exchange) -> Response:
        """Return the finished response to a request; its body must be closed."""
        exchange.metrics = self.metrics
        try:
            response = self._walk(exchange)
        except ProxyError as error:
            response = self.detours.refuse(exchange, error)
        if exchange.kept or exchange.content_type:
            response_headers.keep(exchange, response)
        return self._finish(exchange, response)

    def refuse(self, exchange: Exchange, error: ProxyError) -> Response:
        """Return the finished response to a malformed request, by the error pages of its server block."""
        self.router.enter_refused(exchange, error)
        return self._finish(exchange, self.detours.refuse(exchange, error))

    def _walk(self, exchange: Exchange) -> Response:
        """Route the request, check its access, and answer it."""
        first = exchange.server is None
        if first:
            self.router.choose_server(exchange)
            entered: CompiledLocation = exchange.compiled
            self.guard.enter(exchange, entered.access)
        response = self.router.route(exchange)
        compiled: CompiledLocation = exchange.compiled
        location = compiled.location
        if first and compiled.traced:
            begin(exchange)
        if exchange.absolute and not exchange.internal:
            destinations.check_scheme(exchange)
        if exchange.connection is not None and not exchange.subrequest:
            exchange.connection.heed(location.core, compiled.client_limits)
            browsers = compiled.browsers
            if exchange.method == "POST" or "safari" in browsers:
                if pages.ends_connection(exchange.method, exchange.sent("HTTP_USER_AGENT"), browsers):
                    exchange.connection.end()
        if response is not None:
            return self._resolve(exchange, response)
        self.guard.admit(exchange, compiled.access)
        if compiled.tries_files and not exchange.named_location:
            moved = self.detours.try_files(exchange)
            if moved is not None:
                return moved
        if compiled.mirrored and not exchange.subrequest:
            self.mirrors(exchange, location.core)
        handler = compiled.handler
        if handler is None:
            return self._forward(exchange, compiled)
        return self._resolve(exchange, handler(exchange))

    def _resolve(self, exchange: Exchange, response: Response) -> Response:
        """Return a response as it is, or the page or internal redirect that is its outcome."""
        if response.outcome is None:
            if exchange.chunked and exchange.upload is None and not exchange.subrequest:
                # Nothing reads the body, but the chunks that have arrived are judged (ngx_http_discard_request_body).
                check_unread(exchange, exchange.location.core.client_max_body_size)
            return response
        return self.detours.resolve(exchange, response)

    def _forward(self, exchange: Exchange, compiled: CompiledLocation) -> Response:
        """Answer from the cache, else from an upstream."""
        if exchange.method == "OPTIONS" and headers.hops_left(exchange.environ.get("HTTP_MAX_FORWARDS", "")) == -1:
            # Max-Forwards: 0 makes this proxy the recipient (RFC 9110, section 7.6.2).
            return Response(200, [("Content-Length", "0")], length=0)
        if compiled.slice and not exchange.subrequest and exchange.method in ("GET", "HEAD"):
            return sliced(exchange, compiled.slice, partial(self._answer, compiled=compiled), compiled.cache is not None)
        return self._answer(exchange, compiled)

    def _answer(self, exchange: Exchange, compiled: CompiledLocation) -> Response:
        """Answer a request, or a part of one, from the cache or from an upstream."""
        plan = compiled.cache
        if plan is None:
            response = self.requests.ask(exchange, compiled)
            forwarder = compiled.forwarder
            if forwarder is None or type(response.body) is not Forwarded:
                return response
            if compiled.stores:
                settings = forwarder.settings
                path = None if isinstance(settings.store, bool) else settings.store
                keep(exchange, response, path, settings.store_access, settings.temp_path)
            return ranged(exchange, response) if compiled.force_ranges else response
        return self._through_cache(exchange, compiled, plan)

    def _through_cache(self, exchange: Exchange, compiled: CompiledLocation, plan: CachePlan) -> Response:
        """Answer from the cache, or from an upstream with the cache storing the response."""
        location = compiled.location
        if (exchange.chunked or exchange.content_length) and location.proxy.request_buffering:
            # As in nginx the body is read before the cache, whose key may contain it ($request_body).
            collect(exchange, location.core)
        found = self.cache.lookup(exchange, plan)
        if found is None:
            return self.requests.ask(exchange, compiled)
        if isinstance(found, Response):
            return self._rewritten(exchange, compiled, found)
        try:
            found.prepare(exchange)
            try:
                response = found.store(exchange, self.requests.ask(exchange, compiled, found))
                if type(response.body) is Forwarded and not location.proxy.ignore_client_abort:
                    # A response that is not stored has no other reader than this client.
                    client = client_of(exchange)
                    if client is not None:
                        response.body.attend(client)
            except UpstreamError as error:
                stale = found.failed(exchange, error)
                if stale is None:
                    raise
                response = stale
            response = self._rewritten(exchange, compiled, response)
            if found.cookie is not None:
                response.headers.append(("Set-Cookie", found.cookie))
            return response
        finally:
            found.close()

    def _rewritten(self, exchange: Exchange, compiled: CompiledLocation, response: Response) -> Response:
        """Replace the upstream's fields of a response from the cache by those that this location sends."""
        if response.raw:
            response.raw = False
            forwarder = compiled.forwarder
            assert forwarder is not None
            entry = response.source if isinstance(response.source, Entry) else None
            if entry is not None:
                exchange.upstream_pairs = entry.headers
                if headers.first(entry.headers, "x-accel-limit-rate") is not None:
                    rate = pacing.accelerated(entry.headers, forwarder.settings.ignore_headers)
                    if rate is not None:
                        exchange.limit_rate = rate
            response.headers = forwarder.response_headers(exchange, response.headers, stored=entry is not None)
        return response

    def _refetch(self, exchange: Exchange, fetch: Fetch) -> Response:
        """Ask an upstream on behalf of the cache, without a client."""
        exchange.environ = {**exchange.environ}
        exchange.environ.pop("wsgi.early_hints", None)
        return self.requests.ask(exchange, exchange.compiled, fetch)

    def _finish(self, exchange: Exchange, response: Response) -> Response:
        """Apply the location's `add_header`, `expires` and the like, its filters, and `limit_rate`."""
        exchange.status = response.status
        exchange.response = response
        if exchange.compiled is not None:
            compiled: CompiledLocation = exchange.compiled
            if compiled.finisher is not None:
                compiled.finisher(exchange, response)
            if compiled.filters is not None:
                exchange.subrequests = self.subrequests
                compiled.filters(exchange, response)
            if response.relative:
                complete_location(exchange, response)
            if (compiled.paced or exchange.limit_rate is not None) and not exchange.subrequest:
                pacing.pace(exchange, response)
        return response
