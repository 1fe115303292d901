"""Collapsed forwarding: one fetch for all requests that miss the same response (RFC 9111, section 4).

Rules:
- The leader asks the upstream. Followers read its file while it grows (see `fill.py`).
- A request that must ask for itself alone (its own conditions or range, `no-store`, `no-cache`, `proxy_cache_lock off`) neither
  leads nor follows.
- A follower that waits longer than `proxy_cache_lock_timeout` asks the upstream itself, and the response is not stored. One more
  follower may ask each `proxy_cache_lock_age` (ngx_http_proxy_module).
- A request with `only-if-cached` waits for a response that has arrived whole and is being stored, and for no other.
- A follower only takes a response that its own selecting fields and freshness demands allow.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from .background import resumption
from .fill import Fill
from .follower import Follower
from .partial import may_fill
from .response import choose, from_growing, gateway_timeout, hit, hit_status, not_modified
from .rfc9111 import FORWARD, FRESH, NOT_MODIFIED, PART, UNSATISFIABLE, UPDATING, reusable, selection_of
from .storage import BrokenEntry, Entry, fill_name, load

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..response import Response
    from .fetch import Fetch

_LOOK_EVERY: Final = 0.5
"""Seconds between two looks of a waiting request into the store (nginx: half a second)."""


def fetch_or_follow(exchange: Exchange, fetch: Fetch, name: str, decision: str) -> Response | Fetch:
    """Return `fetch` if this request must ask the upstream, else the response that another request's fetch gets.

    `name` is the name by which requests for the same response meet, "" if it is not known yet. `decision` is that of
    `rfc9111.reusable` for `fetch.entry`.
    """
    exchange.cache_status = "MISS" if fetch.entry is None else "EXPIRED"
    if exchange.trace is not None:
        exchange.why("cache", "nothing is stored for this" if fetch.entry is None else "the stored response must be validated")
    asked, zone = fetch.asked, fetch.zone
    fetch.whole = may_fill(exchange, fetch.plan, fetch.background.clock()) and not asked.no_store
    # Without an entry to compare it to, the upstream must answer a condition or range, for this client alone. The response to a
    # HEAD does not help requests that wait for a body.
    solitary = not fetch.whole and (fetch.entry is None or (exchange.method == "HEAD" and not fetch.plan.convert_head))
    if not name:
        name = zone.fill_name(fetch.key, fetch.request, fetch.entry)
    if asked.only_if_cached:
        zone.fills.wait_until_stored(name, committing=True)
        zone.wait_for_commit(fetch.key, exchange)
        return _stored_since(exchange, fetch) or gateway_timeout()
    if solitary and zone.fills.wait_until_stored(name):
        response = _stored_since(exchange, fetch)
        if response is not None:
            return response
    if solitary or asked.no_store or asked.no_cache or (fetch.plan.settings.lock is False and decision is not UPDATING):
        return fetch
    if fetch.entry is None and zone.fills.passes(name, fetch.background.clock()):
        fetch.whole = False
        return fetch
    return _join(exchange, fetch, name, decision)


def is_scarce(fetch: Fetch) -> bool:
    """Count a request for `proxy_cache_min_uses`; True if it is sent as it is, and its response not stored."""
    fetch.counted = True
    if fetch.entry is not None or fetch.zone.uses(fetch.key) >= fetch.plan.settings.min_uses:
        return False
    fetch.may_store = False
    fetch.refusal = "min-uses"
    return True


def _join(exchange: Exchange, fetch: Fetch, name: str, decision: str) -> Response | Fetch:
    """Lead the fetch of that name, or follow its leader."""
    zone, settings = fetch.zone, fetch.plan.settings
    deadline = time.monotonic() + settings.lock_timeout
    tried: list[str] = []
    while True:
        joined = zone.fills.join(name, exchange)
        if joined is None:
            return fetch
        if isinstance(joined, Fill):
            led = _lead(exchange, fetch, joined, decision)
            if not isinstance(led, str):
                return led
            tried.append(name)
            name = led
            continue
        try:
            if decision is UPDATING and fetch.entry is not None:
                response = hit(exchange, zone, fetch.entry, fetch.background.clock(), "UPDATING")
                if response is not None:
                    return response
            patience = deadline - time.monotonic()
            block = joined.wait(min(patience, joined.grows_old_in(settings.lock_age), _LOOK_EVERY))
            if block is not None:
                followed = _follow(exchange, fetch, joined)
                if not isinstance(followed, str):
                    return followed or fetch
                # The leader fetches another variant. This request's variant has a fetch under another name.
                tried.append(name)
                name = followed
                if name in tried:
                    return fetch
                continue
            if time.monotonic() >= deadline:
                fetch.may_store = False
                return fetch
            response = _stored_since(exchange, fetch)
            if response is not None:
                return response
            if joined.under_way():
                if zone.fills.may_pass(name, joined, settings.lock_age, exchange):
                    return fetch
            elif not joined.died():
                return fetch
        finally:
            joined.close()


def _lead(exchange: Exchange, fetch: Fetch, fill: Fill, decision: str) -> Response | Fetch | str:
    """Ask the upstream for all followers, unless another request stored the response meanwhile.

    If another request stored a variant meanwhile, return the name by which the requests for this request's variant meet.
    """
    fetch.fill = fill
    background = fetch.background
    try:
        fetch.zone.wait_for_others(fill, fetch.key, fetch.plan.settings.lock_timeout, exchange)
        response, name = _looked_up_again(exchange, fetch)
        if response is None and fetch.entry is None and name != fill.name == fill_name(fetch.key):
            fetch.release()
            return name
        if response is None and decision is UPDATING and fetch.entry is not None and background.in_background(fetch):
            response = hit(exchange, fetch.zone, fetch.entry, background.clock(), "STALE")
            if response is not None:
                background.update(exchange, fetch)
                return response
    except BaseException:
        fetch.close()
        raise
    if response is not None:
        fetch.close()
        return response
    return fetch


def _stored_since(exchange: Exchange, fetch: Fetch) -> Response | None:
    """Return a response that another fetch stored after this request looked into the store; None if there is none."""
    return _looked_up_again(exchange, fetch)[0]


def _looked_up_again(exchange: Exchange, fetch: Fetch) -> tuple[Response | None, str]:
    """Return (the response of `_stored_since`, the name by which requests that miss it meet)."""
    entry, name = fetch.zone.find(fetch.key, fetch.request, exchange)
    known = fetch.entry
    if entry is None or (known is not None and (entry.id, entry.checked_at) == (known.id, known.checked_at)):
        return None, name
    now = fetch.background.clock()
    if reusable(entry.freshness, fetch.asked, now) is not FRESH:
        return None, entry.fill_name
    return hit(exchange, fetch.zone, entry, now), name


def _follow(exchange: Exchange, fetch: Fetch, follower: Follower) -> Response | str | None:
    """Return the leader's response as it grows; None if it does not fit this request; or the name to join instead.

    Another name is returned if the response is selected by fields in which this request differs from the leader's.
    """
    try:
        block, entry = load(follower.fd, whole=False)
    except (BrokenEntry, OSError):
        return None
    if not isinstance(entry, Entry) or entry.key != fetch.key:
        return None
    selection = selection_of(fetch.request, entry.spec)
    if selection != entry.selection:
        return fill_name(fetch.key, entry.spec, selection)
    if (entry.purged, entry.voided) != (fetch.purged, fetch.voided):
        # The leader asked before an invalidation, and this request came after it.
        return None
    now = fetch.background.clock()
    if reusable(entry.freshness, fetch.asked, now) is not FRESH:
        return None
    length = block.body_length if block.body_length >= 0 else entry.announced
    chosen = choose(exchange, entry, length, now)
    if chosen.kind == FORWARD:
        return None
    exchange.cache_status = "HIT"
    if chosen.kind == NOT_MODIFIED:
        return not_modified(entry, now, hit_status(entry, now))
    if exchange.method == "HEAD":
        return from_growing(entry, (), length, now)
    if chosen.kind == UNSATISFIABLE:
        return from_growing(entry, (), length, now, chosen)
    # Longer than the leader waits for the upstream.
    patience = max(60.0, 2 * fetch.plan.location.proxy.read_timeout)
    start, end = (chosen.start, chosen.start + chosen.count) if chosen.kind == PART else (0, None)
    body = follower.body(
        block, length, start, end, again=resumption(exchange, fetch, entry), patience=patience, exchange=exchange
    )
    return from_growing(entry, body, length, now, chosen)
