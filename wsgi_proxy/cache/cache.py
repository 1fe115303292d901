"""The shared cache: answer a request from the store, or say what to ask the upstream.

Rules:
- The proxy calls `Cache.lookup` before it chooses an upstream. The result is a Response to send at once, None for a request that
  is not cached, or a `Fetch`. A Fetch says how to ask the upstream. The proxy hands it the response (`store`) or the failure
  (`failed`) and closes it in any case.
- A directive has nginx's meaning (ngx_http_proxy_module, proxy_cache*). Without one, RFC 9111 decides. docs/caching.md has the
  table.
- A storage that fails costs a miss and a line in the location's error log, never a response.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from ..clocks import monotonic, wall_time
from ..errors import ClientError, ProxyError
from ..logs import errorlog
from ..response import Response
from .background import Background
from .collapsing import fetch_or_follow, is_scarce
from .fetch import Fetch
from .plan import CachePlan, affected, is_set, target_uri, withheld
from .purge import by_request
from .response import hit
from .rfc9111 import EXPIRED, FRESH, NO_WISHES, SAFE_METHODS, STALE, Forwarded, Request, reusable
from .storage import open_zone, sweep_zone
from .zone import ZoneCache

if TYPE_CHECKING:
    from ..config import CacheZone
    from ..exchange import Exchange

_RETRY_ZONE_AFTER: Final = 30.0
"""Seconds before a zone that could not be opened is tried again."""


_WISHES: Final = ("HTTP_CACHE_CONTROL", "HTTP_PRAGMA")
_FOR_ORIGIN: Final = ("HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE")


def _sends(exchange: Exchange, keys: tuple[str, ...]) -> bool:
    return any(exchange.sent(key) is not None for key in keys)


@mypyc_attr(allow_interpreted_subclasses=True)
class Cache:
    """All zones of a configuration in one process.

    `refetch(exchange, fetch)` asks the upstream again as `fetch` says and returns its Response, without this cache. `spawn` runs
    a function beside the request, in a greenlet or thread. Without either, nothing is updated in the background. `clock` returns
    the time in seconds since 1970. Relative paths start from `prefix`.
    """

    def __init__(
        self,
        zones: Mapping[str, CacheZone],
        *,
        refetch: Callable[[Exchange, Fetch], Response] | None = None,
        spawn: Callable[[Callable[[], None]], Any] | None = None,
        clock: Callable[[], float] = wall_time,
        prefix: str = "",
    ) -> None:
        self.background = Background(self, refetch, spawn, clock)
        self.clock = clock
        self._settings = zones
        self._prefix = prefix
        self._zones: dict[str, ZoneCache] = {}
        self._retry_at: dict[str, float] = {}
        for name in zones:
            self.zone(name)

    # --- zones --------------------------------------------------------------------------------------------------------

    def zone(self, name: str, exchange: Exchange | None = None) -> ZoneCache | None:
        """Return the zone of that name; None if there is none, or if its storage is not available now."""
        zone = self._zones.get(name)
        if zone is not None:
            return zone
        settings = self._settings.get(name)
        if settings is None or monotonic() < self._retry_at.get(name, 0.0):
            return None
        try:
            zone = self._zones[name] = open_zone(settings, self._prefix)
        except OSError as error:
            self._retry_at[name] = monotonic() + _RETRY_ZONE_AFTER
            errorlog.line("error", f'cache zone "{name}" cannot be opened, nothing is cached: {error}', exchange)
            return None
        return zone

    def zones(self) -> list[ZoneCache]:
        """Return all zones whose storages are available."""
        return [zone for zone in (self.zone(name) for name in self._settings) if zone is not None]

    # --- requests -----------------------------------------------------------------------------------------------------

    def lookup(self, exchange: Exchange, plan: CachePlan) -> Response | Fetch | None:
        """Return the response to a request, a Fetch to carry out, or None if the request is not cached.

        ProxyError if the request is a purge that failed, ClientError with the status that is remembered for an intercepted error.
        """
        name = plan.zone_name if plan.zone_of is None else plan.zone_of(exchange)
        zone = self._zones.get(name) or self.zone(name, exchange)
        if zone is None and name not in self._settings:
            if plan.zone_of is not None and name not in ("", "off"):
                raise ProxyError(f'cache "{name}" not found')
            return None
        if plan.settings.purge and is_set(plan.settings.purge, exchange):
            return self._purge(exchange, plan, zone)
        if zone is None:
            return None
        if exchange.method not in plan.methods:
            return None if exchange.method in SAFE_METHODS else Fetch(self.background, zone, plan, unsafe=True)
        asks = exchange.asks_cache()
        if (asks and exchange.sent("HTTP_UPGRADE") is not None) or (exchange.has_body and exchange.method in SAFE_METHODS):
            # A tunnel has no response to share. The response to a GET with a body may depend on that body, which is not in the
            # key.
            return None
        if plan.settings.key is not None and exchange.sent("HTTP_CONNECTION") is not None and withheld(exchange):
            return None
        key = exchange.cache_key = plan.key(exchange)
        request: Request = exchange.pairs if plan.sent is None else Forwarded(exchange, plan.sent)
        asked = plan.wishes(exchange.pairs) if asks and _sends(exchange, _WISHES) else NO_WISHES
        if plan.settings.bypass and is_set(plan.settings.bypass, exchange):
            exchange.cache_status = "BYPASS"
            return self._fetch(exchange, zone, plan, key=key, asked=asked, reason="bypass", request=request)
        entry, fill = zone.find(key, request, exchange)
        decision = EXPIRED
        if entry is not None:
            now = self.clock()
            decision = reusable(entry.freshness, asked, now, updating=plan.updating)
            if decision is FRESH or decision is STALE:
                response = hit(exchange, zone, entry, now, "HIT" if decision is FRESH else "STALE")
                if response is not None:
                    return response
                # The entry's file is gone, or only the origin can evaluate the request's conditions.
                decision, entry = EXPIRED, None
                zone.memory.forget(key)
        if decision is EXPIRED and not asked.no_cache:
            self._raise_remembered(exchange, zone, key)
        if asks and _sends(exchange, _FOR_ORIGIN):
            entry = None
        fetch = self._fetch(exchange, zone, plan, key=key, asked=asked, entry=entry, request=request)
        if plan.settings.min_uses > 1 and is_scarce(fetch):
            exchange.cache_status = "MISS"
            return fetch
        return fetch_or_follow(exchange, fetch, fill, decision)

    def _raise_remembered(self, exchange: Exchange, zone: ZoneCache, key: str) -> None:
        """Raise ClientError with the status of an intercepted error that is remembered for the key."""
        status = zone.errors.get(key, self.clock())
        if status:
            exchange.cache_status = "HIT"
            error = ClientError(status=status)
            error.error_type = ""  # the fault was the upstream's
            raise error

    def _fetch(self, exchange: Exchange, zone: ZoneCache, plan: CachePlan, **options: Any) -> Fetch:
        return Fetch(self.background, zone, plan, target=target_uri(exchange), exchange=exchange, **options)

    # --- invalidation -------------------------------------------------------------------------------------------------

    def _purge(self, exchange: Exchange, plan: CachePlan, zone: ZoneCache | None) -> Response:
        """Carry out a request that `proxy_cache_purge` selects: 204 if something was removed, 404 if nothing was."""
        try:
            if zone is None:
                raise OSError("it cannot be opened")
            count = by_request(exchange, plan, zone)
        except OSError as error:
            raise ProxyError(f'"{exchange.target}" cannot be purged from its cache zone: {error}') from error
        return Response(204, [], length=0) if count else Response(404, [("Content-Length", "0")], length=0)

    def invalidate(self, exchange: Exchange, plan: CachePlan, zone: ZoneCache, response: Response) -> None:
        """Void the entries of an unsafe request's target and of the targets that its response names (RFC 9111, section 4.4)."""
        for each in affected(exchange, response.headers):
            try:
                for key in plan.keys(each):
                    zone.invalidate(key)
                if plan.settings.key is not None:
                    zone.void(target_uri(each))
            except OSError as error:
                zone.fault("remove", error, exchange)

    # --- upkeep -------------------------------------------------------------------------------------------------------

    def sweep(self, now: float | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        """Keep every zone within its bounds, unless another process is doing so.

        To be called about once a second beside the requests. It is cheap when there is nothing to do, and pauses often when there
        is.
        """
        for zone in list(self._zones.values()):
            try:
                sweep_zone(zone, self.clock() if now is None else now, pause)
            except OSError as error:
                zone.fault("sweep", error)

    def close(self) -> None:
        """Close all zones."""
        for zone in self._zones.values():
            zone.close()
        self._zones.clear()
