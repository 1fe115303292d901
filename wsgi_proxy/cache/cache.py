"""The shared cache: what a request gets from the store, and what it must ask the upstream for.

The hallway calls `Cache.lookup` before it chooses an upstream. The result is an Answer to send at once, None for a request
that caching has nothing to do with, or a `Fetch` (see cachefetch.py): then the hallway asks the upstream, as the Fetch says,
and hands it the answer (`store`) or the failure (`failed`), and closes it in any case.

What a configuration says decides as in nginx; where it says nothing RFC 9111 does (docs/caching.md has the table).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProxyError
from ..exchange import Response
from .background import Background, resumption
from .fetch import Fetch
from .fill import Fill, Follower
from .partial import may_fill
from .plan import CachePlan, affected, is_set, target_uri, withheld
from .purge import by_request
from .response import choose, from_entry, from_growing, gateway_timeout, hit_status, not_modified
from .rfc9111 import (
    EXPIRED,
    FORWARD,
    FRESH,
    NO_WISHES,
    NOT_MODIFIED,
    PART,
    SAFE_METHODS,
    STALE,
    UNSATISFIABLE,
    UPDATING,
    Forwarded,
    Request,
    reusable,
    selection_of,
)
from .storage import BrokenEntry, Entry, fill_name, load, open_zone, sweep_zone
from .zone import ZoneCache

if TYPE_CHECKING:
    from ..config import CacheZone
    from ..exchange import Exchange

logger = logging.getLogger("wsgi_proxy")

_RETRY_ZONE_AFTER = 30.0
# How often a waiting request looks whether another one has stored its answer (nginx: half a second).
_LOOK_EVERY = 0.5


class Cache:
    """All zones of a configuration in one process.

    ``refetch(x, fetch)`` asks the upstream again for x as `fetch` says and gives its Answer, without this cache; ``spawn``
    runs a function beside the request (a greenlet or thread). Without either nothing is updated in the background.
    """

    def __init__(
        self,
        zones: Mapping[str, CacheZone],
        *,
        refetch: Callable[[Exchange, Fetch], Response] | None = None,
        spawn: Callable[[Callable[[], None]], Any] | None = None,
        clock: Callable[[], float] = time.time,
        prefix: str = "",
    ) -> None:
        self.leader = Background(self, refetch, spawn, clock)
        self.clock = clock
        self._settings = zones
        self._prefix = prefix
        self._zones: dict[str, ZoneCache] = {}
        self._retry_at: dict[str, float] = {}
        for name in zones:
            self.zone(name)

    # --- zones --------------------------------------------------------------------------------------------------------

    def zone(self, name: str) -> ZoneCache | None:
        """The zone of that name; None if there is none, or if its storage cannot be had just now."""
        zone = self._zones.get(name)
        if zone is not None:
            return zone
        settings = self._settings.get(name)
        if settings is None or time.monotonic() < self._retry_at.get(name, 0.0):
            return None
        try:
            zone = self._zones[name] = open_zone(settings, self._prefix)
        except OSError as error:
            self._retry_at[name] = time.monotonic() + _RETRY_ZONE_AFTER
            logger.error('cache zone "%s" cannot be opened, nothing is cached: %s', name, error)
            return None
        return zone

    def zones(self) -> list[ZoneCache]:
        return [zone for zone in (self.zone(name) for name in self._settings) if zone is not None]

    # --- the request's way --------------------------------------------------------------------------------------------

    def lookup(self, exchange: Exchange, plan: CachePlan) -> Response | Fetch | None:
        """What answers x: an Answer, a Fetch to carry out, or None where caching is off."""
        name = plan.zone_name if plan.zone_of is None else plan.zone_of(exchange)
        zone = self._zones.get(name) or self.zone(name)
        if zone is None and name not in self._settings:
            return None
        if plan.settings.purge and is_set(plan.settings.purge, exchange):
            return self._purge(exchange, plan, zone)
        if zone is None:
            return None
        if exchange.method not in plan.methods:
            return None if exchange.method in SAFE_METHODS else Fetch(self.leader, zone, plan, unsafe=True)
        environ = exchange.environ
        if "HTTP_UPGRADE" in environ or (exchange.has_body and exchange.method in SAFE_METHODS):
            # What may become a tunnel has no answer to share. And a GET with a body may get an answer to that body, which
            # the key does not know of: stored, it would be everyone's.
            return None
        if plan.settings.key is not None and "HTTP_CONNECTION" in environ and withheld(exchange):
            return None
        key = exchange.cache_key = plan.key(exchange)
        request: Request = exchange.pairs if plan.sent is None else Forwarded(exchange, plan.sent)
        asked = NO_WISHES if "HTTP_CACHE_CONTROL" not in environ and "HTTP_PRAGMA" not in environ else plan.wishes(exchange.pairs)
        if plan.settings.bypass and is_set(plan.settings.bypass, exchange):
            exchange.cache_status = "BYPASS"
            return Fetch(
                self.leader, zone, plan, key=key, asked=asked, reason="bypass", request=request, target=target_uri(exchange)
            )
        entry, name = zone.find(key, request)
        decision = EXPIRED
        if entry is not None:
            now = self.clock()
            decision = reusable(entry.freshness, asked, now, updating=plan.updating)
            if decision is FRESH or decision is STALE:
                response = self._hit(exchange, zone, entry, now, "HIT" if decision is FRESH else "STALE")
                if response is not None:
                    return response
                # Its file is gone, or only the origin can answer the request's conditions.
                decision, entry = EXPIRED, None
                zone.memory.forget(key)
        if "HTTP_IF_MATCH" in environ or "HTTP_IF_UNMODIFIED_SINCE" in environ:
            entry = None
        fetch = Fetch(self.leader, zone, plan, key=key, asked=asked, entry=entry, request=request, target=target_uri(exchange))
        return self._ask(exchange, fetch, name, decision)

    def _hit(self, exchange: Exchange, zone: ZoneCache, entry: Entry, now: float, word: str = "HIT") -> Response | None:
        response = from_entry(exchange, entry, now, hit_status(entry, now))
        if response is not None:
            exchange.cache_status = word
            zone.touch(entry, now)
            if exchange.trace is not None:
                exchange.why("cache", f"{word}: stored {now - entry.stored_at:.0f} s ago")
        return response

    def _ask(self, exchange: Exchange, fetch: Fetch, name: str, decision: str) -> Response | Fetch:
        """Nothing stored answers x by itself: fetch, or wait for who fetches."""
        exchange.cache_status = "MISS" if fetch.entry is None else "EXPIRED"
        if exchange.trace is not None:
            exchange.why("cache", "nothing is stored for this" if fetch.entry is None else "what is stored must be validated")
        asked, zone = fetch.asked, fetch.zone
        if asked.only_if_cached:
            return gateway_timeout()
        fetch.whole = may_fill(exchange, fetch.plan) and not asked.no_store
        # A condition or a range with nothing to compare it to is the upstream's to answer, for this client alone; and the answer
        # to a HEAD is of no use to requests that wait for a body.
        solitary = not fetch.whole and (fetch.entry is None or (exchange.method == "HEAD" and not fetch.plan.convert_head))
        if not name:
            name = zone.fill_name(fetch.key, fetch.request, fetch.entry)
        if solitary and zone.wait_until_stored(name):
            response = self._stored_since(exchange, fetch)
            if response is not None:
                return response
        if solitary or asked.no_store or asked.no_cache or (fetch.plan.settings.lock is False and decision is not UPDATING):
            return fetch
        if fetch.entry is None and zone.passes(name, self.clock()):
            fetch.whole = False
            return fetch
        return self._join(exchange, fetch, name, decision)

    def _join(self, exchange: Exchange, fetch: Fetch, name: str, decision: str) -> Response | Fetch:
        """Lead the flight for this answer, or take what its leader gets."""
        zone, settings = fetch.zone, fetch.plan.settings
        deadline = time.monotonic() + settings.lock_timeout
        tried: list[str] = []
        while True:
            joined = zone.join(name)
            if joined is None:
                return fetch
            if isinstance(joined, Fill):
                return self._lead(exchange, fetch, joined, decision)
            try:
                if decision is UPDATING and fetch.entry is not None:
                    response = self._hit(exchange, zone, fetch.entry, self.clock(), "UPDATING")
                    if response is not None:
                        return response
                patience = deadline - time.monotonic()
                block = joined.wait(min(patience, joined.grows_old_in(settings.lock_age), _LOOK_EVERY))
                if block is not None:
                    followed = self._follow(exchange, fetch, joined)
                    if not isinstance(followed, str):
                        return followed or fetch
                    # Another variant of what we want comes there; ours has a flight of its own.
                    tried.append(name)
                    name = followed
                    if name in tried:
                        return fetch
                    continue
                if time.monotonic() >= deadline:
                    # nginx's rule: who waited too long goes alone, and what it gets is not stored.
                    fetch.may_store = False
                    return fetch
                response = self._stored_since(exchange, fetch)
                if response is not None:
                    return response
                if joined.under_way():
                    if zone.may_pass(name, joined, settings.lock_age):
                        return fetch
                elif not joined.died():
                    return fetch
            finally:
                joined.close()

    def _lead(self, exchange: Exchange, fetch: Fetch, fill: Fill, decision: str) -> Response | Fetch:
        """This request asks the upstream for all who wait, unless someone did while it looked."""
        fetch.fill = fill
        try:
            fetch.zone.wait_for_others(fill, fetch.key, fetch.plan.settings.lock_timeout)
            response = self._stored_since(exchange, fetch)
            if response is None and decision is UPDATING and fetch.entry is not None and self.leader.in_background(fetch):
                response = self._hit(exchange, fetch.zone, fetch.entry, self.clock(), "STALE")
                if response is not None:
                    self.leader.update(exchange, fetch)
                    return response
        except BaseException:
            fetch.close()
            raise
        if response is not None:
            fetch.close()
            return response
        return fetch

    def _stored_since(self, exchange: Exchange, fetch: Fetch) -> Response | None:
        """The answer that another fetch stored since we looked."""
        entry, _ = fetch.zone.find(fetch.key, fetch.request)
        known = fetch.entry
        if entry is None or (known is not None and (entry.id, entry.checked_at) == (known.id, known.checked_at)):
            return None
        now = self.clock()
        if reusable(entry.freshness, fetch.asked, now) is not FRESH:
            return None
        return self._hit(exchange, fetch.zone, entry, now)

    def _follow(self, exchange: Exchange, fetch: Fetch, follower: Follower) -> Response | str | None:
        """The answer that the leader is getting, as it comes; None if it does not fit this request; or the name of the flight
        to take instead, when what comes is chosen by fields in which this request differs from the leader's."""
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
            # The leader asked before an invalidation that this request came after.
            return None
        now = self.clock()
        if reusable(entry.freshness, fetch.asked, now) is not FRESH:
            return None
        length = next((int(v) for n, v in entry.headers if n.lower() == "content-length" and v.isdigit()), None)
        if block.body_length >= 0:
            length = block.body_length
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
        # The leader's own wait for the upstream ends first.
        patience = max(60.0, 2 * fetch.plan.location.proxy.read_timeout)
        start, end = (chosen.start, chosen.start + chosen.count) if chosen.kind == PART else (0, None)
        body = follower.body(block, length, start, end, again=resumption(exchange, fetch, entry), patience=patience)
        return from_growing(entry, body, length, now, chosen)

    # --- purging and invalidating -------------------------------------------------------------------------------------

    def _purge(self, exchange: Exchange, plan: CachePlan, zone: ZoneCache | None) -> Response:
        """proxy_cache_purge (nginx Plus): 204 when something went, else 404; 500 when it could not be carried out."""
        try:
            if zone is None:
                raise OSError("it cannot be opened")
            gone = by_request(exchange, plan, zone)
        except OSError as error:
            raise ProxyError(f'"{exchange.target}" cannot be purged from its cache zone: {error}') from error
        status = 204 if gone else 404
        return Response(status, [] if status == 204 else [("Content-Length", "0")], length=0)

    def invalidate(self, exchange: Exchange, plan: CachePlan, zone: ZoneCache, response: Response) -> None:
        """An unsafe request succeeded: void what is stored for its target and for those it names (RFC 9111 section 4.4)."""
        for each in affected(exchange, response.headers):
            try:
                for key in plan.keys(each):
                    zone.invalidate(key)
                if plan.settings.key is not None:
                    zone.void(target_uri(each))
            except OSError as error:
                zone.fault("remove", error)

    # --- upkeep -------------------------------------------------------------------------------------------------------

    def sweep(self, now: float | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        """Keep every zone within its bounds, if no other process is at it. To be called about once a second, beside the
        requests: cheap when there is nothing to do, with many pauses when there is."""
        for zone in list(self._zones.values()):
            try:
                sweep_zone(zone, self.clock() if now is None else now, pause)
            except OSError as error:
                zone.fault("sweep", error)

    def close(self) -> None:
        for zone in self._zones.values():
            zone.close()
        self._zones.clear()
