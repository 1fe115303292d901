"""Deciding on storing a response in a shared cache, and on its freshness lifetime (RFC 9111, sections 3, 4.2.1 to 4.2.3).

Rules:
- A response is *storable* if its method, status and directives allow a shared cache to keep it (section 3).
- Its *freshness lifetime* is the first of: a targeted field, s-maxage, max-age, Expires, a heuristic (section 4.2.1).
- Its *age* counts from the moment at which the origin made or last validated it (section 4.2.3). That moment, `born`, is stored.
- Nothing here reads a clock, a file or a setting. The settings that extend the RFC come in as `Rules`.
- Header pairs are in arrival order, names in any case. Times are seconds since 1970 as floats, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ...http import parse_date
from .fields import Directives, Pairs, cache_control, members, parse_delta, targeted, values
from .freshness import Freshness
from .stored_fields import stored_fields, validators

# The statuses for which a heuristic may be used (RFC 9110, section 15.1). 206 is left out because parts are not stored.
HEURISTIC_STATUSES: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# Responses to a range or a condition of one request. 206 and 304: RFC 9111, section 3, for a cache that does not combine parts.
# 412 and 416: the next request under the same key may have no such field.
UNSTORABLE_STATUSES: Final = frozenset({206, 304, 412, 416})
# Statuses whose caching rules are implemented, as must-understand requires (RFC 9111, section 5.2.2.3).
UNDERSTOOD_STATUSES: Final = frozenset(int(status) for status in HTTPStatus if status >= 200) - UNSTORABLE_STATUSES
# RFC 9111, section 4.2.2, proposes a tenth of the time since the last change. Other caches have the cap of a day as well.
HEURISTIC_FRACTION: Final = 0.1
HEURISTIC_CAP: Final = 86400.0


@dataclass(frozen=True)
class Rules:
    """The settings that extend the RFC. The default changes nothing.

    `ignored` are the fields of the response that are ignored, in lower case (proxy_ignore_headers). `valid` is proxy_cache_valid
    as (statuses, or None for any; seconds), for responses without a lifetime. If it is given there are no heuristics, and no
    request makes the cache ask the origin (see `wishes`).
    """

    ignored: frozenset[str] = frozenset()
    valid: tuple[tuple[frozenset[int] | None, float], ...] = ()
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    no_store: bool = False
    parts: bool = False
    """Store the 206 of a request for a part whose range is in the cache key (`slice`)."""

    def lifetime(self, status: int) -> float | None:
        """Return the seconds of proxy_cache_valid for a status; None if it has none or 0, which is nginx's "do not cache"."""
        return next((seconds for statuses, seconds in self.valid if statuses is None or status in statuses), None) or None


@dataclass(frozen=True)
class Verdict:
    """The decision on storing a response, its reason for Cache-Status and explain, and the numbers and fields to store."""

    store: bool
    reason: str
    freshness: Freshness | None = None
    headers: Pairs | None = None


def judge(
    method: str,
    request: Pairs,
    status: int,
    response: Pairs,
    sent_at: float,
    received_at: float,
    rules: Rules = Rules(),
) -> Verdict:
    """Return the decision on storing an upstream's response (RFC 9111, section 3).

    `sent_at` and `received_at` are the times at which the request was sent and the response's head arrived.
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
            # It counts from now, however old the response is (ngx_http_upstream_send_response).
            lifetime, explicit = ruled + initial_age(response, sent_at, received_at), True
    if not explicit and (rules.valid or not _cacheable_unasked(status, directives)):
        return Verdict(False, "no-freshness")
    freshness = _numbers(response, directives, lifetime, sent_at, received_at, ruled=accelerated is not None)
    headers = stored_fields(response, received_at, _withheld(directives))
    expired = accelerated is not None and accelerated < 0  # stored as stale, as nginx does, for `proxy_cache_use_stale`
    if (freshness.left(received_at) <= 0 or freshness.no_cache) and not expired and not _useful_when_stale(freshness, headers):
        return Verdict(False, "no-validator")
    return Verdict(True, "stored", freshness, headers)


def _refusal(method: str, request: Pairs, status: int, response: Pairs, rules: Rules, accelerated: bool) -> str | None:
    """Return the first reason why a shared cache must not keep this response; None if there is none."""
    if method not in rules.methods or method == "HEAD":
        return "method"
    if rules.no_store or "no-store" in cache_control(request):
        return "request-no-store"
    if not 200 <= status <= 999 or (status in UNSTORABLE_STATUSES and not (status == 206 and rules.parts)):
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
    """Return True if the response to a request with Authorization may be shared (RFC 9111, section 3.5)."""
    return "public" in directives or "s-maxage" in directives or "must-revalidate" in directives


def _effective(response: Pairs) -> Directives:
    """Return the directives of the targeted field if it is valid (RFC 9213, section 2.2), else of Cache-Control."""
    directed = targeted(response)
    return cache_control(response) if directed is None else directed


def _withheld(directives: Directives) -> frozenset[str]:
    """Return the fields that a qualified private or no-cache excludes (RFC 9111, sections 5.2.2.4 and 5.2.2.7)."""
    return directives.fields("private") | directives.fields("no-cache")


def _accelerated(response: Pairs, now: float) -> float | None:
    """Return the lifetime of X-Accel-Expires, in seconds; None if it is absent or unreadable.

    Its value is in seconds, or `@` and seconds since 1970, which gives a negative lifetime for the past. It overrides every other
    field (ngx_http_proxy_module, proxy_cache_valid); `@0` says nothing, because nginx keeps 0 for a time that is not known.
    """
    for value in values(response, "x-accel-expires"):
        absolute = value.startswith("@")
        seconds = parse_delta(value[1:] if absolute else value)
        if seconds is not None and (seconds or not absolute):
            return float(seconds) - now if absolute else float(seconds)
    return None


def _lifetime(status: int, response: Pairs, directives: Directives, received_at: float) -> tuple[float, bool]:
    """Return (freshness lifetime in seconds, True if it is explicit), for a shared cache (RFC 9111, section 4.2.1)."""
    for name in ("s-maxage", "max-age"):
        seconds = directives.seconds(name)
        if seconds is not None:
            return float(seconds), True
    dated = _date_of(response, received_at)
    if targeted(response) is None:
        expiries = values(response, "expires")
        if expiries:
            moments = [parse_date(value.strip(" \t"), received_at) for value in expiries]
            # An unreadable date, such as "0", is in the past (RFC 9111, section 5.3).
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
    """Return the time of Date, or the time of receipt if Date is absent or unreadable (RFC 9110, section 6.6.1)."""
    dated = _first_date(response, "date", received_at)
    return received_at if dated is None else dated


def initial_age(response: Pairs, sent_at: float, received_at: float) -> float:
    """Return corrected_initial_age (RFC 9111, section 4.2.3), in seconds, from Date, Age and the wait for the response.

    Of a list in Age the first member counts. Anything but digits is ignored (section 5.1).
    """
    lines = values(response, "age")
    reported = (parse_delta(lines[0].split(",")[0].strip(" \t")) or 0) if lines else 0
    # Date has whole seconds. A response made in this second is not a fraction of a second old.
    apparent = max(0.0, received_at // 1 - _date_of(response, received_at))
    return max(apparent, reported + max(0.0, received_at - sent_at))


def _numbers(
    response: Pairs, directives: Directives, lifetime: float, sent_at: float, received_at: float, *, ruled: bool
) -> Freshness:
    born = received_at - initial_age(response, sent_at, received_at)
    if ruled:
        # X-Accel-Expires counts from now, and overrides the prohibitions of Cache-Control, but not its extensions.
        return Freshness(
            received_at,
            lifetime,
            grace=float(directives.seconds("stale-while-revalidate") or 0),
            error_grace=float(directives.seconds("stale-if-error") or 0),
        )
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
