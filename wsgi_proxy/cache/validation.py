"""Updating stored entries by a 304 or by the response to a HEAD.

Rules:
- A 304 that matches the entry makes it fresh (RFC 9111, section 4.3.4). For one that does not match, the whole response is
  fetched.
- The response to a HEAD updates the entry if its validators and length match, else it drops it (RFC 9111, section 4.3.5).
- An updated entry that may no longer be stored, or that varies by other fields than before, is dropped.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ..errors import UpstreamError
from .plan import is_set
from .response import forward_status, from_entry
from .rfc9111 import Pairs, freshened, head_matches_stored, judge, matches_stored, spec_of

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..response import Response
    from .fetch import Fetch
    from .rfc9111 import Verdict
    from .storage import Entry


def update_by_validation(fetch: Fetch, exchange: Exchange, response: Response, entry: Entry, received_at: float) -> Response:
    """Return the response from the entry that a 304 validates. `received_at` is in seconds since 1970."""
    raw = response.headers
    response.close()
    if not matches_stored(entry.headers, raw):
        return _fetch_whole(fetch, exchange, entry)
    fresh, verdict = _freshened(fetch, exchange, entry, raw, received_at)
    _keep_or_drop(fetch, exchange, entry, fresh, verdict)
    fetch.release()
    exchange.cache_status = "REVALIDATED"
    served = from_entry(exchange, fresh, received_at, forward_status("stale", status=304, stored=verdict.store), forced=True)
    if served is None:
        return _fetch_whole(fetch, exchange, entry)
    served.headers += [pair for pair in raw if pair[0].lower() == "set-cookie"]
    return served


def update_by_head(fetch: Fetch, exchange: Exchange, response: Response, received_at: float) -> Response:
    """Update or drop the stored response to GET by the response to a HEAD, and return the latter."""
    entry = fetch.entry or fetch.zone.find(fetch.key, fetch.request, exchange)[0]
    if entry is not None and response.status == entry.status == 200 and head_matches_stored(entry.headers, response.headers):
        fresh, verdict = _freshened(fetch, exchange, entry, response.headers, received_at)
        _keep_or_drop(fetch, exchange, entry, fresh, verdict)
    elif entry is not None and (response.status == entry.status == 200 or response.status in (404, 410)):
        fetch.zone.drop(entry, exchange)
    response.headers.append(("Cache-Status", forward_status(fetch.reason, status=response.status)))
    return response


def remember_error(fetch: Fetch, exchange: Exchange, status: int, fields: Pairs) -> None:
    """Remember a response whose place an error page takes, for as long as it could be stored.

    Source: ngx_http_upstream.c, ngx_http_upstream_intercept_errors.
    """
    now, plan = fetch.background.clock(), fetch.plan
    if fetch.unsafe or not fetch.may_store or spec_of(fields):
        return
    if plan.settings.no_cache and is_set(plan.settings.no_cache, exchange):
        return
    verdict = judge(fetch.method or exchange.method, exchange.pairs, status, fields, fetch.sent_at, now, plan.rules)
    if verdict.store and verdict.freshness is not None:
        fetch.zone.errors.put(fetch.key, status, now + verdict.freshness.left(now))


def _freshened(fetch: Fetch, exchange: Exchange, entry: Entry, raw: Pairs, received_at: float) -> tuple[Entry, Verdict]:
    """Return a copy of the entry with the fields and freshness that the new response gives it, and the verdict on storing it."""
    rules = fetch.plan.rules
    own = "set-cookie" not in rules.ignored
    raw = [pair for pair in raw if not (own and pair[0].lower() == "set-cookie")]
    merged = freshened(entry.headers, raw, received_at)
    # Age is not stored, but it says how old the validation is.
    merged += [pair for pair in raw if pair[0].lower() == "age" and pair not in merged]
    verdict = judge("GET", exchange.pairs, entry.status, merged, fetch.sent_at, received_at, rules)
    fresh = copy.copy(entry)
    fresh.headers = [pair for pair in merged if pair[0].lower() != "age"]
    fresh.checked_at = received_at
    fresh.spec = spec_of(merged) if "vary" not in rules.ignored else ()
    if verdict.freshness is not None:
        fresh.freshness = verdict.freshness
    return fresh, verdict


def _keep_or_drop(fetch: Fetch, exchange: Exchange, entry: Entry, fresh: Entry, verdict: Verdict) -> None:
    if verdict.store and fresh.spec == entry.spec:
        fetch.zone.refresh(fresh, fetch.purged, exchange)
    else:
        fetch.zone.drop(entry, exchange)


def _fetch_whole(fetch: Fetch, exchange: Exchange, entry: Entry) -> Response:
    """Drop an entry that the 304 was not about, and ask for the whole response."""
    fetch.zone.drop(entry, exchange)
    fetch.entry, fetch.extra = None, []
    background = fetch.background
    if background.refetch is None:
        raise UpstreamError("upstream sent a 304 that does not match the stored response")
    fetch.sent_at = background.clock()
    return fetch.store_full(exchange, background.refetch(exchange, fetch), background.clock())
