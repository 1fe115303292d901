"""Fetches without a client: updating a stale entry behind the request that got it, and asking again for a broken response.

Rules:
- A detached request has no client, no body and no record of the client's own response.
- An update that fails is a line in the error log of the request's location. The stale entry stays.
- Only a GET without a body is sent again for a response that was begun. Nothing of the second response is stored, and it only
  continues the first if status, validators, coding and length are the same. Anything else is TruncatedResponse: the client sees
  that its response is incomplete. `follower.py` compares the bytes.
"""

from __future__ import annotations

import io
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProxyError, TruncatedResponse, UpstreamError
from ..logs import errorlog
from .rfc9111 import Pairs, values

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..response import Response
    from .cache import Cache
    from .fetch import Fetch
    from .storage import Entry

_IDENTIFYING: Final = ("etag", "last-modified", "content-encoding", "content-length")


class Background:
    """The means of a process to fetch without a client: the cache, `refetch`, `spawn` and `clock` (see `Cache`)."""

    __slots__ = ("cache", "clock", "refetch", "spawn")

    def __init__(
        self,
        cache: Cache,
        refetch: Callable[[Exchange, Fetch], Response] | None,
        spawn: Callable[[Callable[[], None]], Any] | None,
        clock: Callable[[], float],
    ) -> None:
        self.cache = cache
        self.refetch = refetch
        self.spawn = spawn
        self.clock = clock

    def in_background(self, fetch: Fetch) -> bool:
        """Return True if the stale entry is sent now and updated behind the request.

        The configuration (proxy_cache_background_update) decides, else the origin (stale-while-revalidate).
        """
        if self.refetch is None or self.spawn is None or fetch.entry is None:
            return False
        asked: bool | None = fetch.plan.background
        return fetch.entry.freshness.grace > 0 if asked is None else asked

    def update(self, exchange: Exchange, fetch: Fetch) -> None:
        """Carry out a fetch that no client waits for, and close it."""
        assert self.spawn is not None
        other = detached(exchange)
        exchange.update = threading.Event()
        try:
            self.spawn(lambda: self._update(other, fetch, exchange.update))
        except BaseException:
            exchange.update = None
            fetch.close()
            raise

    def _update(self, exchange: Exchange, fetch: Fetch, ended: threading.Event) -> None:
        assert self.refetch is not None
        try:
            fetch.prepare(exchange)
            drain(fetch.store(exchange, self.refetch(exchange, fetch)))
        except UpstreamError as error:
            errorlog.line("error", f'background update of "{exchange.cache_key}" failed: {error}', exchange)
        except Exception:
            # A defect. One line, with the traceback.
            cause = traceback.format_exc().strip().replace("\n", " | ")
            errorlog.line("error", f'background update of "{exchange.cache_key}" failed: {cause}', exchange)
        finally:
            fetch.close()
            ended.set()


def detached(exchange: Exchange) -> Exchange:
    """Return a copy of a request without its client: a GET without a body, with an empty record."""
    other = exchange.copy()
    other.method = "GET"
    other.input = io.BytesIO()
    other.content_length = None
    other.chunked = False
    other.connection = None
    other.variables = dict(exchange.variables)
    other.tries = []
    other.tried = None
    other.response = None
    other.leases = None
    other.trace = None
    other.update = None
    return other


def drain(response: Response) -> None:
    """Read a response to its end, so that the whole of it is stored, and close it."""
    try:
        for _ in response.body:
            pass
    finally:
        response.close()


def resumption(exchange: Exchange, fetch: Fetch, entry: Entry) -> Callable[[], Response] | None:
    """Return a function that asks again for `entry`, of which this request has sent a part; None if it cannot be sent twice."""
    refetch = fetch.background.refetch
    if refetch is None or exchange.method != "GET" or exchange.has_body:
        return None

    def again() -> Response:
        other, alone = detached(exchange), fetch.another()
        try:
            response = refetch(other, alone)
        except ProxyError as error:
            raise TruncatedResponse(f"the upstream cannot be asked again: {error}") from error
        if response.status != entry.status or not same_response(entry.headers, response.headers + (other.upstream_pairs or [])):
            response.close()
            raise TruncatedResponse("the upstream's second response differs from the first")
        return response

    return again


def same_response(begun: Pairs, second: Pairs) -> bool:
    """Return True if the identifying fields of the response that was begun are the same in the second one."""
    for name in _IDENTIFYING:
        first = values(begun, name)[:1]
        if first and first[0] not in values(second, name):
            return False
    return True
