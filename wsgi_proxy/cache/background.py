"""Fetches without a client: updating a stale answer behind the request that got it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProxyError, TruncatedResponse, UpstreamError
from ..exchange import Response
from .rfc9111 import Pairs, values
from .storage import Entry

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .cache import Cache
    from .fetch import Fetch

logger = logging.getLogger("wsgi_proxy")

_TELLING: Final = ("etag", "last-modified", "content-encoding", "content-length")


class Background:
    """What fetches need of the process: the cache they belong to, its clock, and ways to fetch without a client."""

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
        """Whether a stale answer goes out now and its update is fetched behind it: where the configuration or the origin
        (stale-while-revalidate) says so, and someone can do it."""
        if self.refetch is None or self.spawn is None or fetch.entry is None:
            return False
        return fetch.plan.background or fetch.entry.freshness.grace > 0

    def update(self, exchange: Exchange, fetch: Fetch) -> None:
        """Carry out a fetch that no client waits for."""
        assert self.spawn is not None
        other = detached(exchange)
        try:
            self.spawn(lambda: self._update(other, fetch))
        except BaseException:
            fetch.close()
            raise

    def _update(self, exchange: Exchange, fetch: Fetch) -> None:
        assert self.refetch is not None
        try:
            fetch.prepare(exchange)
            drain(fetch.store(exchange, self.refetch(exchange, fetch)))
        except UpstreamError as error:
            logger.error('background update of "%s" failed: %s', exchange.cache_key, error)
        except Exception:
            logger.exception('background update of "%s" failed', exchange.cache_key)
        finally:
            fetch.close()


def detached(exchange: Exchange) -> Exchange:
    """The same request without its client: no body, nothing noted that belongs to the client's own answer."""
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
    return other


def drain(response: Response) -> None:
    """Read an answer to its end for the sake of the store."""
    try:
        for _ in response.body:
            pass
    finally:
        response.close()


def resumption(exchange: Exchange, fetch: Fetch, entry: Entry) -> Callable[[], Response] | None:
    """The function that asks again for `entry`, which x has begun to send; None where x cannot be sent twice."""
    refetch = fetch.leader.refetch
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
            raise TruncatedResponse("the upstream's second answer is another one")
        return response

    return again


def same_response(begun: Pairs, second: Pairs) -> bool:
    """Whether the fields of a second answer agree with those of the one that was begun, as far as it has them."""
    for name in _TELLING:
        said = values(begun, name)[:1]
        if said and said[0] not in values(second, name):
            return False
    return True
