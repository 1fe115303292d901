"""The second request for an answer that another request's fetch began and gave up.

Rules:
- Only a GET without a body is sent again, with no client and without the cache: nothing of its answer is stored.
- The second answer goes on behind the first only if status, validators, coding and length are the same; the bytes that were sent
  are compared by `cachegrowing`. Anything else is TruncatedAnswer: the client sees that its answer is not complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import ProxyError, TruncatedResponse
from ..response import Response
from .background import detached
from .rfc9111 import Pairs, values
from .storage import Entry

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .fetch import Fetch

_TELLING: Final = ("etag", "last-modified", "content-encoding", "content-length")


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
