"""A request that the cache sends to the upstream, and what becomes of the answer.

The hallway sends it as `method`, `extra` and `drop_conditions` say, then calls `store` with the answer or `failed` with the
error, and `close` in any case. Only an answer that may be stored is copied, while it streams to the client; the copy is
made an entry once the last byte was handed on, so no client waits for the store.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

from ..errors import UpstreamError
from ..response import Response
from .background import Background
from .partial import met, met_alone, without_body
from .plan import CachePlan, is_set
from .response import forward_status, from_entry, is_conditional
from .rfc9111 import (
    NO_WISHES,
    Pairs,
    Request,
    Verdict,
    Wishes,
    freshened,
    head_matches_stored,
    invalidates,
    judge,
    matches_stored,
    selection_of,
    spec_of,
    usable_on_error,
    validators,
)
from .storage import Entry
from .tee import Tee
from .zone import ZoneCache

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .fill import Fill

# RFC 5861 section 4: the answers that count as an error of the origin.
_ORIGIN_ERRORS: Final = frozenset({500, 502, 503, 504})
# The statuses proxy_cache_use_stale can name, and its word for them.
_STALE_WORDS: Final = {status: f"http_{status}" for status in (500, 502, 503, 504, 403, 404, 429)}


class Fetch:
    """One request to the upstream on behalf of the cache."""

    __slots__ = (
        "asked",
        "cookie",
        "drop_conditions",
        "entry",
        "extra",
        "fill",
        "key",
        "leader",
        "may_store",
        "method",
        "plan",
        "purged",
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
        leader: Background,
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
    ) -> None:
        self.leader = leader
        self.zone = zone
        self.plan = plan
        self.key = key
        self.asked = asked
        self.entry = entry
        self.reason = "stale" if entry is not None else reason
        self.unsafe = unsafe
        self.may_store = not asked.no_store and not unsafe
        self.purged = 0 if unsafe else zone.purged(key)
        self.target = target
        self.voided = -1 if unsafe or plan.settings.key is None else zone.voided(target)
        """How often the target's answers were voided so far; -1 where the key is made of the target, -2 if nobody can say."""
        if self.voided == -2:
            self.may_store = False
        self.fill: Fill | None = None
        self.request: Request = [] if request is None else request
        """What the upstream is sent, by which variants are told apart."""
        self.cookie: str | None = None
        """The cookie by which this client stays with the server that answered it: for it alone, and never stored."""
        self.sent_at = 0.0
        self.method: str | None = None
        """The method to send instead of the client's, if any (proxy_cache_convert_head)."""
        self.extra: Pairs = []
        """Fields to add: the conditions that validate what is stored."""
        self.whole = False
        """Whether the whole answer is fetched for the store, whatever the client wants of it."""
        self.drop_conditions = False
        """Whether the client's own conditions and ranges stay behind."""

    def another(self) -> Fetch:
        """A fetch of the same whole answer for one client alone, of which nothing is stored."""
        made = Fetch(self.leader, self.zone, self.plan, key=self.key, asked=self.asked, request=self.request, target=self.target)
        made.may_store = False
        made.drop_conditions = True
        return made

    # --- before the upstream is asked -----------------------------------------------------------------------------------

    def prepare(self, exchange: Exchange) -> None:
        """Decide what to send; the hallway calls it right before it sends."""
        self.sent_at = self.leader.clock()
        if self.unsafe:
            return
        if exchange.method == "HEAD" and self.plan.convert_head and (self.whole or self.entry is not None):
            self.method = "GET"
        self.drop_conditions = self.entry is not None or (self.whole and is_conditional(exchange))
        if self.entry is not None:
            if self.plan.validate and (exchange.method != "HEAD" or self.method == "GET"):
                self.extra = validators(self.entry.headers)

    # --- after ----------------------------------------------------------------------------------------------------------

    def store(self, exchange: Exchange, response: Response) -> Response:
        """The answer to send for the upstream's: itself, with its body copied as it passes, or one from the store."""
        received_at = self.leader.clock()
        if self.unsafe:
            # The client's method: an internal redirect (X-Accel-Redirect, error_page) makes it GET.
            if invalidates(exchange.environ["REQUEST_METHOD"], response.status):
                self.leader.cache.invalidate(exchange, self.plan, self.zone, response)
            return response
        if response.status < 200 or not response.raw:
            # A tunnel, or an answer that was made here (an error page, an accelerated redirect): nothing of the upstream's.
            self._release()
            return response
        entry = self.entry
        if entry is not None:
            if response.status == 304 and self.extra:
                return self._validated(exchange, response, entry, received_at)
            if self._stands_in(exchange, entry, response.status, received_at):
                stale = self._from_stale(exchange, entry, received_at, response.status)
                if stale is not None:
                    response.close()
                    return stale
        if exchange.method == "HEAD" and self.method is None:
            return self._head(exchange, response, received_at)
        return self._store(exchange, response, received_at)

    def failed(self, exchange: Exchange, error: UpstreamError) -> Response | None:
        """A stale answer for an upstream that gave none, where the configuration or the origin allows it."""
        self._release()
        entry, now = self.entry, self.leader.clock()
        if entry is None:
            return None
        word = error.kind
        if usable_on_error(entry.freshness, self.asked, now, allowed=word in self.plan.use_stale):
            return self._from_stale(exchange, entry, now, error.status)
        return None

    def _stands_in(self, exchange: Exchange, entry: Entry, status: int, now: float) -> bool:
        allowed = _STALE_WORDS.get(status) in self.plan.use_stale
        if not allowed and status not in _ORIGIN_ERRORS:
            return False
        return usable_on_error(entry.freshness, self.asked, now, allowed=allowed)

    def _from_stale(self, exchange: Exchange, entry: Entry, now: float, status: int) -> Response | None:
        self._release()
        response = from_entry(exchange, entry, now, forward_status("stale", status=status, detail="stale-if-error"), forced=True)
        if response is not None:
            exchange.cache_status = "STALE"
        return response

    def _judge(self, exchange: Exchange, raw: Pairs, status: int, received_at: float) -> Verdict:
        return judge(self.method or exchange.method, exchange.pairs, status, raw, self.sent_at, received_at, self.plan.rules)

    def _store(self, exchange: Exchange, response: Response, received_at: float) -> Response:
        """A full answer: copy it as it passes if it may be stored."""
        raw = list(response.headers)
        verdict = self._judge(exchange, raw, response.status, received_at)
        reason = verdict.reason if not verdict.store else self._refusal(exchange, response)
        if exchange.trace is not None:
            exchange.why("cache", f"the answer is not stored: {reason}" if reason else f"stored, {verdict.freshness}")
        if reason:
            self._refused(response, verdict.store, reason)
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
        fill = self._begin(entry)
        response.headers.append(("Cache-Status", forward_status(self.reason, status=response.status, stored=fill is not None)))
        if fill is not None:
            length = 0 if response.status == 204 else response.length
            response.body = Tee(response.body, length, fill, entry, self.zone, self.purged, self.leader.spawn, self.leader.clock)
            self.fill = None
        return self._to_client(exchange, response, received_at)

    def _begin(self, entry: Entry) -> Fill | None:
        fill = self.fill or self.zone.private_fill()
        if fill is None:
            return None
        try:
            fill.begin(entry)
        except OSError as error:
            self.zone.fault("store", error)
            fill.release()
            return None
        return fill

    def _refusal(self, exchange: Exchange, response: Response) -> str:
        """Why this storable answer is not stored here and now; "" if it is."""
        settings = self.plan.settings
        if not self.may_store:
            return "not-stored"
        if settings.no_cache and is_set(settings.no_cache, exchange):
            return "no-cache"
        if settings.min_uses > 1 and self.zone.uses(self.key) < settings.min_uses:
            return "min-uses"
        limit = self.zone.body_max
        if limit and response.length is not None and response.length > limit:
            return "too-large"
        return ""

    def _refused(self, response: Response, storable: bool, reason: str) -> None:
        fill_name = self.fill.name if self.fill is not None else ""
        self._release()
        if fill_name and (not storable or reason == "too-large"):
            self.zone.mark_pass(fill_name, self.leader.clock())
        if self.entry is not None and not storable and response.status < 400:
            # The origin has something newer that is not for us: what we have is outdated.
            self.zone.drop(self.entry)
        response.headers.append(("Cache-Status", forward_status(self.reason, status=response.status, detail=reason)))

    def _to_client(self, exchange: Exchange, response: Response, now: float) -> Response:
        """What of the upstream's answer this client asked for, while the whole goes to the store."""
        if exchange.method == "HEAD" and self.method is not None:
            if isinstance(response.body, Tee):
                fields = met(exchange, response, now, self.leader.spawn)
                return (
                    without_body(response, response.status, response.headers, self.leader.spawn) if fields is response else fields
                )
            response.close()
        elif self.drop_conditions:
            return (
                met(exchange, response, now, self.leader.spawn)
                if isinstance(response.body, Tee)
                else met_alone(exchange, response, now)
            )
        return response

    # --- validation -----------------------------------------------------------------------------------------------------

    def _validated(self, exchange: Exchange, response: Response, entry: Entry, received_at: float) -> Response:
        """The upstream said that what is stored is still right."""
        raw = response.headers
        response.close()
        if not matches_stored(entry.headers, raw):
            return self._again(exchange, entry)
        fresh, verdict = self._freshened(exchange, entry, raw, received_at)
        if verdict.store and fresh.spec == entry.spec:
            self.zone.refresh(fresh, self.purged)
        else:
            self.zone.drop(entry)
        self._release()
        exchange.cache_status = "REVALIDATED"
        status = forward_status("stale", status=304, stored=verdict.store)
        served = from_entry(exchange, fresh, received_at, status, forced=True)
        if served is None:
            return self._again(exchange, entry)
        served.headers += [pair for pair in raw if pair[0].lower() == "set-cookie"]
        return served

    def _freshened(self, exchange: Exchange, entry: Entry, raw: Pairs, received_at: float) -> tuple[Entry, Verdict]:
        """The entry with the fields and the freshness that a 304 or a HEAD answer gives it."""
        own = "set-cookie" not in self.plan.rules.ignored
        raw = [pair for pair in raw if not (own and pair[0].lower() == "set-cookie")]
        merged = freshened(entry.headers, raw, received_at)
        # Age is no field of the stored answer, but it says how old the validation is.
        merged += [pair for pair in raw if pair[0].lower() == "age" and pair not in merged]
        verdict = judge("GET", exchange.pairs, entry.status, merged, self.sent_at, received_at, self.plan.rules)
        fresh = copy.copy(entry)
        fresh.headers = [pair for pair in merged if pair[0].lower() != "age"]
        fresh.checked_at = received_at
        fresh.spec = spec_of(merged) if "vary" not in self.plan.rules.ignored else ()
        if verdict.freshness is not None:
            fresh.freshness = verdict.freshness
        return fresh, verdict

    def _again(self, exchange: Exchange, entry: Entry) -> Response:
        """A 304 for something that we do not have: ask for the whole."""
        self.zone.drop(entry)
        self.entry, self.extra = None, []
        if self.leader.refetch is None:
            raise UpstreamError("the upstream validated an answer that it was not asked about")
        self.sent_at = self.leader.clock()
        return self._store(exchange, self.leader.refetch(exchange, self), self.leader.clock())

    def _head(self, exchange: Exchange, response: Response, received_at: float) -> Response:
        """An answer to HEAD says whether what GET stored is still right (RFC 9111 section 4.3.5)."""
        self._release()
        entry = self.entry or self.zone.find(self.key, self.request)[0]
        if entry is not None and response.status == entry.status == 200:
            if head_matches_stored(entry.headers, response.headers):
                fresh, verdict = self._freshened(exchange, entry, response.headers, received_at)
                if verdict.store and fresh.spec == entry.spec:
                    self.zone.refresh(fresh, self.purged)
                else:
                    self.zone.drop(entry)
            else:
                self.zone.drop(entry)
        elif entry is not None and response.status in (404, 410):
            self.zone.drop(entry)
        response.headers.append(("Cache-Status", forward_status(self.reason, status=response.status)))
        return response

    # --- the end --------------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        fill, self.fill = self.fill, None
        if fill is not None:
            fill.release()

    def close(self) -> None:
        """Let go of the flight if nothing was made of it. Safe to call again, and after `store`, whose body goes on."""
        self._release()
