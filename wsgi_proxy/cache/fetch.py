"""A request that the cache sends to the upstream, and the response that the client gets for it.

Rules:
- The proxy sends the request as `method`, `extra` and `drop_conditions` say. It then calls `store` with the response or `failed`
  with the error, and `close` in any case.
- Only a response that may be stored is copied, while it streams to the client. The copy becomes an entry once the last byte was
  handed on, so no client waits for the store. Without a lock that others can wait for, it becomes one right before.
- A 304, a HEAD and a failing upstream are compared with the stored entry (see `validation.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import UpstreamError
from ..response import Response
from .background import Background
from .partial import met, met_alone, without_body
from .plan import CachePlan, is_set
from .response import forces_ranges, forward_status, from_entry, has_only_malformed_dates, is_conditional
from .rfc9111 import NO_WISHES, Pairs, Request, Wishes, invalidates, judge, selection_of, spec_of, usable_on_error, validators
from .storage import Entry
from .tee import Tee
from .validation import update_by_head, update_by_validation
from .zone import ZoneCache

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .fill import Fill

_ORIGIN_ERRORS: Final = frozenset({500, 502, 503, 504})
"""The responses that count as an error of the origin (RFC 5861, section 4)."""
_VALIDATED: Final = frozenset({200, 206})
"""The statuses of the entries that are validated. The origin evaluates conditions for these alone."""
_STALE_WORDS: Final = {status: f"http_{status}" for status in (500, 502, 503, 504, 403, 404, 429)}
"""The word of `proxy_cache_use_stale` for each status that it can name."""


class Fetch:
    """One request to the upstream on behalf of the cache.

    `entry` is the stored entry that it validates, None if there is none. `reason` is the `fwd` parameter of Cache-Status (RFC
    9211). An `unsafe` request stores nothing and may invalidate entries.
    """

    __slots__ = (
        "asked",
        "background",
        "cookie",
        "counted",
        "drop_conditions",
        "entry",
        "extra",
        "fill",
        "key",
        "may_store",
        "method",
        "plan",
        "purged",
        "refusal",
        "reason",
        "request",
        "sent_at",
        "target",
        "unsafe",
        "voided",
        "whole",
        "zone",
    )

    def __init__(
        self,
        background: Background,
        zone: ZoneCache,
        plan: CachePlan,
        *,
        key: str = "",
        asked: Wishes = NO_WISHES,
        entry: Entry | None = None,
        reason: str = "uri-miss",
        unsafe: bool = False,
        request: Request | None = None,
        target: str = "",
        exchange: Exchange | None = None,
    ) -> None:
        self.background = background
        self.zone = zone
        self.plan = plan
        self.key = key
        self.asked = asked
        self.entry = entry
        self.reason = "stale" if entry is not None else reason
        self.unsafe = unsafe
        self.may_store = not asked.no_store and not unsafe
        self.purged = 0 if unsafe else zone.purged(key, exchange)
        self.target = target
        self.voided = -1 if unsafe or plan.settings.key is None else zone.voided(target, exchange)
        """The count of the target's invalidations before the fetch; -1 if the key is made of the target, -2 if it is unknown."""
        if self.voided == -2:
            self.may_store = False
        self.fill: Fill | None = None
        """The file of a fetch that others may follow, until the response is known."""
        self.request: Request = [] if request is None else request
        """The fields that the upstream gets. They select the variant."""
        self.cookie: str | None = None
        """The cookie that keeps this client on the server that answered it. It is sent to this client alone and never stored."""
        self.sent_at = 0.0
        self.method: str | None = None
        """The method to send instead of the client's, if any (proxy_cache_convert_head)."""
        self.extra: Pairs = []
        """Fields to add: the conditions that validate the entry."""
        self.whole = False
        """True if the whole response is fetched for the store, whatever part of it the client asked for."""
        self.counted = False
        """True if `proxy_cache_min_uses` has been applied."""
        self.refusal = "not-stored"
        """The reason why a response is not stored without `may_store`."""
        self.drop_conditions = False
        """True if the client's own conditions and ranges are not sent."""

    def another(self) -> Fetch:
        """Return a fetch of the same whole response for one client alone, of which nothing is stored."""
        made = Fetch(
            self.background, self.zone, self.plan, key=self.key, asked=self.asked, request=self.request, target=self.target
        )
        made.may_store = False
        made.drop_conditions = True
        return made

    # --- before the upstream is asked -----------------------------------------------------------------------------------

    def prepare(self, exchange: Exchange) -> None:
        """Decide what to send. The proxy calls it right before it sends."""
        self.sent_at = self.background.clock()
        if self.unsafe:
            return
        if exchange.method == "HEAD" and self.plan.convert_head and (self.whole or self.entry is not None):
            self.method = "GET"
        self.drop_conditions = self.entry is not None or (
            is_conditional(exchange) and (self.whole or has_only_malformed_dates(exchange, self.sent_at))
        )
        if self.entry is not None:
            if self.plan.validate and self.entry.status in _VALIDATED and (exchange.method != "HEAD" or self.method == "GET"):
                self.extra = validators(self.entry.headers)

    # --- after ----------------------------------------------------------------------------------------------------------

    def store(self, exchange: Exchange, response: Response) -> Response:
        """Return the response to send: the upstream's, with its body copied as it passes, or one from the store."""
        received_at = self.background.clock()
        if self.unsafe:
            # The client's method: an internal redirect (X-Accel-Redirect, error_page) makes it GET.
            if invalidates(exchange.environ["REQUEST_METHOD"], response.status):
                self.background.cache.invalidate(exchange, self.plan, self.zone, response)
            return response
        if response.status < 200 or not response.raw:
            # A tunnel, or a response that the proxy made (an error page, an accelerated redirect).
            self.release()
            return response
        entry = self.entry
        if entry is not None:
            if response.status == 304 and self.extra:
                return update_by_validation(self, exchange, response, entry, received_at)
            if self._stands_in(entry, response.status, received_at):
                stale = self._from_stale(exchange, entry, received_at, response.status)
                if stale is not None:
                    response.close()
                    return stale
        if exchange.method == "HEAD" and self.method is None:
            self.release()
            return update_by_head(self, exchange, response, received_at)
        return self.store_full(exchange, response, received_at)

    def failed(self, exchange: Exchange, error: UpstreamError) -> Response | None:
        """Return a stale response for an upstream that failed; None unless the configuration or the origin allows it."""
        self.release()
        entry, now = self.entry, self.background.clock()
        if entry is None:
            return None
        if usable_on_error(entry.freshness, self.asked, now, allowed=error.kind in self.plan.use_stale):
            return self._from_stale(exchange, entry, now, error.status)
        return None

    def _stands_in(self, entry: Entry, status: int, now: float) -> bool:
        """Return True if the stale entry is sent instead of a response of that status."""
        allowed = _STALE_WORDS.get(status) in self.plan.use_stale
        if not allowed and status not in _ORIGIN_ERRORS:
            return False
        return usable_on_error(entry.freshness, self.asked, now, allowed=allowed)

    def _from_stale(self, exchange: Exchange, entry: Entry, now: float, status: int) -> Response | None:
        self.release()
        response = from_entry(exchange, entry, now, forward_status("stale", status=status, detail="stale-if-error"), forced=True)
        if response is not None:
            exchange.cache_status = "STALE"
        return response

    def store_full(self, exchange: Exchange, response: Response, received_at: float) -> Response:
        """Return the client's part of a full response, and copy the response as it passes if it may be stored."""
        raw = list(response.headers)
        method = self.method or exchange.method
        verdict = judge(method, exchange.pairs, response.status, raw, self.sent_at, received_at, self.plan.rules)
        reason = verdict.reason if not verdict.store else self._refusal(exchange, response)
        if exchange.trace is not None:
            exchange.why("cache", f"the response is not stored: {reason}" if reason else f"stored, {verdict.freshness}")
        if reason:
            self._refused(exchange, response, verdict.store, reason)
            return self._to_client(exchange, response, received_at)
        assert verdict.freshness is not None and verdict.headers is not None
        spec = spec_of(raw) if "vary" not in self.plan.rules.ignored else ()
        entry = Entry(
            self.key,
            exchange.target,
            response.status,
            response.reason,
            [pair for pair in verdict.headers if pair[0].lower() != "age"],
            verdict.freshness,
            received_at,
            spec,
            selection_of(self.request, spec),
            self.purged,
            self.target,
            self.voided,
        )
        fill = self._begin(exchange, entry)
        response.headers.append(("Cache-Status", forward_status(self.reason, status=response.status, stored=fill is not None)))
        if fill is not None:
            length = 0 if response.status == 204 else response.length
            response.body = Tee(response.body, length, fill, entry, self, exchange)
            self.fill = None
        return self._to_client(exchange, response, received_at)

    def _begin(self, exchange: Exchange, entry: Entry) -> Fill | None:
        fill = self.fill or self.zone.fills.private(exchange)
        if fill is None:
            return None
        try:
            fill.begin(entry)
        except OSError as error:
            self.zone.fault("store", error, exchange)
            fill.release()
            return None
        return fill

    def _refusal(self, exchange: Exchange, response: Response) -> str:
        """Return why the configuration does not store a storable response; "" if it does."""
        settings = self.plan.settings
        if not self.may_store:
            return self.refusal
        if settings.no_cache and is_set(settings.no_cache, exchange):
            return "no-cache"
        if settings.min_uses > 1 and not self.counted and self.zone.uses(self.key) < settings.min_uses:
            return "min-uses"
        limit = self.zone.body_max
        if limit and response.length is not None and response.length > limit:
            return "too-large"
        return ""

    def _refused(self, exchange: Exchange, response: Response, storable: bool, reason: str) -> None:
        """Release the followers of a response that is not stored, and drop the entry that it outdates."""
        name = self.fill.name if self.fill is not None else ""
        self.release()
        if name and (not storable or reason == "too-large"):
            self.zone.fills.mark_pass(name, self.background.clock())
        if self.entry is not None and not storable and response.status < 400:
            # The origin has a newer response, which may not be stored.
            self.zone.drop(self.entry, exchange)
        response.headers.append(("Cache-Status", forward_status(self.reason, status=response.status, detail=reason)))

    def _to_client(self, exchange: Exchange, response: Response, now: float) -> Response:
        """Return the part of the response that this client asked for, while the whole goes to the store."""
        stored = isinstance(response.body, Tee)
        converted = exchange.method == "HEAD" and self.method is not None
        if converted and not stored:
            # As nginx: the rest of the upstream's body is not read.
            response.close()
            return response
        shown = response
        if converted or self.drop_conditions or not stored and forces_ranges(exchange):
            shown = met(exchange, response, now, self.background.spawn) if stored else met_alone(exchange, response, now)
        if shown is response and stored and (converted or exchange.fields_only):
            # The body goes to the store.
            return without_body(exchange, response, response.status, response.headers, self.background.spawn)
        return shown

    # --- the end --------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Release the followers, unless the response is being stored."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill.release()

    def close(self) -> None:
        """Release the followers if nothing was stored. Safe to call again, and after `store`, whose body goes on."""
        self.release()
