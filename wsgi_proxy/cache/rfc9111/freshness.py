"""What a shared cache may store, for how long it is fresh, and when it may be reused: RFC 9111 as pure functions.

Header pairs are ``list[tuple[str, str]]`` in arrival order, names in any case.  Times are epoch seconds as floats, durations
seconds.  Nothing here reads a clock, a file or a setting; what a configuration adds to the RFC comes in as `Rules`.

The theory, in RFC 9111's words:

- an answer is *storable* when method, status and directives allow a shared cache to keep it (section 3);
- its *freshness lifetime* comes from the first of: a targeted field, s-maxage, max-age, Expires, a heuristic (section 4.2.1);
- its *age* counts from the moment the origin made or last validated it (section 4.2.3), so we store that moment, `born`;
- it is *reused* without asking while its age is below its lifetime, and beyond that only where both sides permit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ...http import parse_date
from .fields import DELTA_MAX, Directives, Pairs, cache_control, members, parse_delta, targeted, values
from .stored_fields import stored_fields, validators

# RFC 9110 section 15.1: the statuses a heuristic may be used for.  206 is left out because partial answers are not stored.
HEURISTIC_STATUSES: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# Answers to a range or to a condition of one request: 206 and 304 by RFC 9111 section 3, for a cache that does not combine
# parts; 412 and 416 because under the same key the next request may have no such field.
UNSTORABLE_STATUSES: Final = frozenset({206, 304, 412, 416})
# Statuses whose rules for caches we follow; must-understand asks for it (RFC 9111 section 5.2.2.3).
UNDERSTOOD_STATUSES: Final = frozenset(int(status) for status in HTTPStatus if status >= 200) - UNSTORABLE_STATUSES
# RFC 9111 section 4.2.2 proposes a tenth of the time since the last change; the cap is ours, as in other caches: a day.
HEURISTIC_FRACTION: Final = 0.1
HEURISTIC_CAP: Final = 86400.0

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True)
class Rules:
    """What a configuration adds to the RFC; the default adds nothing.

    `ignored` are fields of the answer that have no say (lower case; nginx's proxy_ignore_headers); `valid` gives
    nginx's proxy_cache_valid as (statuses or None for any, seconds), used where no field sets a lifetime; once it
    is given there are no heuristics, and no request makes the cache ask the origin (see `wishes`).
    """

    ignored: frozenset[str] = frozenset()
    valid: tuple[tuple[frozenset[int] | None, float], ...] = ()
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    no_store: bool = False

    def lifetime(self, status: int) -> float | None:
        """proxy_cache_valid's seconds for a status; None where it names no time or 0, nginx's "do not cache"."""
        return next((seconds for statuses, seconds in self.valid if statuses is None or status in statuses), None) or None


@dataclass(frozen=True)
class Freshness:
    """The numbers of a stored answer: all that later decisions need.

    `born` is the epoch second at which its age was 0. `grace` and `error_grace` are how long beyond its lifetime it may be
    used while it is revalidated, or when the origin fails (RFC 5861).
    """

    born: float
    lifetime: float
    must_revalidate: bool = False
    no_cache: bool = False
    grace: float = 0.0
    error_grace: float = 0.0

    def age(self, now: float) -> float:
        return max(0.0, now - self.born)

    def left(self, now: float) -> float:
        """Seconds of freshness left, negative once stale."""
        return self.lifetime - self.age(now)


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is stored, why not if not (for Cache-Status and explain), and its numbers and fields if so."""

    store: bool
    reason: str
    freshness: Freshness | None = None
    headers: Pairs | None = None


@dataclass(frozen=True)
class Wishes:
    """What a request's directives ask for (RFC 9111 section 5.2.1); None where it does not say."""

    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    stale_if_error: int | None = None
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False


NO_WISHES: Final = Wishes()


def wishes(request: Pairs, *, ruled: bool = False) -> Wishes:
    """Read a request's Cache-Control; its Pragma only where there is none.

    With ``ruled`` (the configuration has proxy_cache_valid) what asks for a newer answer does not count, as in nginx.
    """
    asked = cache_control(request)
    if ruled:
        return Wishes(
            max_stale=DELTA_MAX if asked.valueless("max-stale") else asked.seconds("max-stale"),
            stale_if_error=asked.seconds("stale-if-error"),
            no_store="no-store" in asked,
            only_if_cached="only-if-cached" in asked,
        )
    if not asked:
        pragma = any(member.lower() == "no-cache" for member in members(request, "pragma"))
        return Wishes(no_cache=True) if pragma else NO_WISHES
    return Wishes(
        max_age=asked.seconds("max-age"),
        min_fresh=asked.seconds("min-fresh"),
        max_stale=DELTA_MAX if asked.valueless("max-stale") else asked.seconds("max-stale"),
        stale_if_error=asked.seconds("stale-if-error"),
        no_cache="no-cache" in asked,
        no_store="no-store" in asked,
        only_if_cached="only-if-cached" in asked,
    )


def judge(
    method: str,
    request: Pairs,
    status: int,
    response: Pairs,
    sent_at: float,
    received_at: float,
    rules: Rules = Rules(),
) -> Verdict:
    """Decide on an answer from upstream (RFC 9111 section 3).

    ``sent_at`` and ``received_at`` are when the request went out and the answer's head came in.
    """
    steering = response if not rules.ignored else [pair for pair in response if pair[0].lower() not in rules.ignored]
    accelerated = _accelerated(steering, received_at)
    reason = _refusal(method, request, status, steering, rules, accelerated is not None)
    if reason:
        return Verdict(False, reason)
    directives = _effective(steering)
    lifetime, explicit = (accelerated, True) if accelerated is not None else _lifetime(status, steering, directives, received_at)
    if not explicit and rules.valid:
        ruled = rules.lifetime(status)
        if ruled is not None:
            # It counts from now, however old the answer is (ngx_http_upstream_send_response).
            lifetime, explicit = ruled + initial_age(response, sent_at, received_at), True
    if not explicit and (rules.valid or not _cacheable_unasked(status, directives)):
        return Verdict(False, "no-freshness")
    freshness = _numbers(response, directives, lifetime, sent_at, received_at, ruled=accelerated is not None)
    headers = stored_fields(response, received_at, _withheld(directives))
    if (freshness.left(received_at) <= 0 or freshness.no_cache) and not _useful_when_stale(freshness, headers):
        return Verdict(False, "no-validator")
    return Verdict(True, "stored", freshness, headers)


def _refusal(method: str, request: Pairs, status: int, response: Pairs, rules: Rules, accelerated: bool) -> str | None:
    """The first reason why a shared cache must not keep this answer, or None."""
    if method not in rules.methods or method == "HEAD":
        return "method"
    if rules.no_store or "no-store" in cache_control(request):
        return "request-no-store"
    if not 200 <= status <= 999 or status in UNSTORABLE_STATUSES:
        return "status"
    directives = _effective(response)
    if not accelerated:
        understands = "must-understand" in directives
        if understands and status not in UNDERSTOOD_STATUSES:
            return "must-understand"
        if "no-store" in directives and not understands:
            return "no-store"
        if directives.bare("private"):
            return "private"
    if "authorization" in _names(request) and not _shared_despite_authorization(directives):
        return "authorization"
    if "*" in members(response, "vary"):
        return "vary-star"
    if "set-cookie" in _names(response) and "set-cookie" not in _withheld(directives):
        return "set-cookie"
    return None


def _names(headers: Pairs) -> set[str]:
    return {name.lower() for name, _ in headers}


def _shared_despite_authorization(directives: Directives) -> bool:
    """RFC 9111 section 3.5."""
    return "public" in directives or "s-maxage" in directives or "must-revalidate" in directives


def _effective(response: Pairs) -> Directives:
    """The directives that count: the targeted field's where it is valid (RFC 9213 section 2.2), else Cache-Control's."""
    directed = targeted(response)
    return cache_control(response) if directed is None else directed


def _withheld(directives: Directives) -> frozenset[str]:
    """Fields that qualified private and no-cache keep out of the store (RFC 9111 sections 5.2.2.4 and 5.2.2.7)."""
    return directives.fields("private") | directives.fields("no-cache")


def _accelerated(response: Pairs, now: float) -> float | None:
    """The lifetime that X-Accel-Expires gives (seconds, or an absolute `@epoch`), None if absent or unreadable; nginx's rule
    that it wins over every other field."""
    for value in values(response, "x-accel-expires"):
        absolute = value.startswith("@")
        seconds = parse_delta(value[1:] if absolute else value)
        if seconds is not None:
            return max(0.0, seconds - now) if absolute else float(seconds)
    return None


def _lifetime(status: int, response: Pairs, directives: Directives, received_at: float) -> tuple[float, bool]:
    """(freshness lifetime, whether something said so explicitly), RFC 9111 section 4.2.1 for a shared cache."""
    for name in ("s-maxage", "max-age"):
        seconds = directives.seconds(name)
        if seconds is not None:
            return float(seconds), True
    dated = _date_of(response, received_at)
    if targeted(response) is None:
        expiries = values(response, "expires")
        if expiries:
            moments = [parse_date(value.strip(" \t"), received_at) for value in expiries]
            # An unreadable date, "0" above all, lies in the past (section 5.3).
            return min((moment - dated if moment is not None else 0.0) for moment in moments), True
    if not _cacheable_unasked(status, directives):
        return 0.0, False
    changed = _first_date(response, "last-modified", received_at)
    if changed is None or changed > dated:
        return 0.0, False
    return min((dated - changed) * HEURISTIC_FRACTION, HEURISTIC_CAP), False


def _cacheable_unasked(status: int, directives: Directives) -> bool:
    return status in HEURISTIC_STATUSES or "public" in directives


def _first_date(headers: Pairs, name: str, now: float) -> float | None:
    found = values(headers, name)
    return parse_date(found[0].strip(" \t"), now) if found else None


def _date_of(response: Pairs, received_at: float) -> float:
    """When the origin made the answer; when we received it, where Date is absent or unreadable (RFC 9110 section 6.6.1)."""
    dated = _first_date(response, "date", received_at)
    return received_at if dated is None else dated


def initial_age(response: Pairs, sent_at: float, received_at: float) -> float:
    """corrected_initial_age of RFC 9111 section 4.2.3: never below what Date, Age and the wait for the answer imply.

    A list in Age counts by its first member, anything but digits there not at all (section 5.1).
    """
    lines = values(response, "age")
    reported = (parse_delta(lines[0].split(",")[0].strip(" \t")) or 0) if lines else 0
    # Date has whole seconds: an answer made in this very second is not a fraction of a second old.
    apparent = max(0.0, received_at // 1 - _date_of(response, received_at))
    return max(apparent, reported + max(0.0, received_at - sent_at))


def _numbers(
    response: Pairs, directives: Directives, lifetime: float, sent_at: float, received_at: float, *, ruled: bool
) -> Freshness:
    born = received_at - initial_age(response, sent_at, received_at)
    if ruled:
        # X-Accel-Expires counts from now, and overrides what Cache-Control would forbid.
        return Freshness(received_at, lifetime)
    return Freshness(
        born=born,
        lifetime=lifetime,
        must_revalidate=any(name in directives for name in ("must-revalidate", "proxy-revalidate", "s-maxage")),
        no_cache=directives.bare("no-cache"),
        grace=float(directives.seconds("stale-while-revalidate") or 0),
        error_grace=float(directives.seconds("stale-if-error") or 0),
    )


def _useful_when_stale(freshness: Freshness, headers: Pairs) -> bool:
    if validators(headers):
        return True
    return not (freshness.no_cache or freshness.must_revalidate) and bool(freshness.grace or freshness.error_grace)


# What `reusable` answers.
FRESH: Final = "fresh"
STALE: Final = "stale"  # the request accepts it as it is
UPDATING: Final = "updating"  # may be sent while it is revalidated behind it
EXPIRED: Final = "expired"  # must be validated first


def reusable(stored: Freshness, asked: Wishes, now: float, *, updating: bool = False) -> str:
    """How a stored answer may serve a request (RFC 9111 section 4.2.4 and 5.2.1, RFC 5861 section 3).

    ``updating`` says that the configuration allows any stale answer while a revalidation is under way.
    """
    if stored.no_cache or asked.no_cache:
        return EXPIRED
    age = now - stored.born if now > stored.born else 0.0
    left = stored.lifetime - age
    if asked is not NO_WISHES:
        if asked.max_age is not None and age > asked.max_age:
            return EXPIRED
        if asked.min_fresh is not None and left < asked.min_fresh:
            return EXPIRED
    if left > 0:
        return FRESH
    if stored.must_revalidate:
        return EXPIRED
    if asked.max_stale is not None and -left <= asked.max_stale:
        return STALE
    if updating or -left < stored.grace:
        return UPDATING
    return EXPIRED


def usable_on_error(stored: Freshness, asked: Wishes, now: float, *, allowed: bool = False) -> bool:
    """Whether a stale answer may stand in for a failing origin (RFC 9111 section 4.2.4, RFC 5861 section 4).

    ``allowed`` is the configuration's word (proxy_cache_use_stale); an origin's prohibition is stronger.
    """
    if stored.must_revalidate or stored.no_cache:
        return False
    if asked.no_cache:
        return False
    return allowed or -stored.left(now) < max(stored.error_grace, asked.stale_if_error or 0)


def invalidates(method: str, status: int) -> bool:
    """Whether an answer to an unsafe (or unknown) method voids what is stored for its target (RFC 9111 section 4.4)."""
    return method not in SAFE_METHODS and 200 <= status < 400
