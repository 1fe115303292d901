"""Reusing a stored response by its freshness: RFC 9111, section 4.2, and RFC 5861, as pure functions.

Rules:
- A response is reused without asking while its age is below its lifetime, and beyond that only if both sides permit it.
- Nothing here reads a clock, a file or a setting.
- Header pairs are in arrival order, names in any case. Times are seconds since 1970 as floats, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .fields import DELTA_MAX, Pairs, cache_control, members

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True)
class Freshness:
    """The numbers of a stored response on which later decisions depend.

    `born` is the time at which its age was 0. `grace` and `error_grace` are the seconds beyond its `lifetime` for which it may be
    used while it is revalidated, or if the origin fails (RFC 5861).
    """

    born: float
    lifetime: float
    must_revalidate: bool = False
    no_cache: bool = False
    grace: float = 0.0
    error_grace: float = 0.0

    def __str__(self) -> str:
        grace = f", then stale for {self.grace:.0f} s" if self.grace else ""
        return f"fresh for {self.lifetime:.0f} s{grace}"

    def age(self, now: float) -> float:
        """Return the age in seconds."""
        return max(0.0, now - self.born)

    def left(self, now: float) -> float:
        """Return the seconds of freshness left, negative once stale."""
        return self.lifetime - self.age(now)


@dataclass(frozen=True)
class Wishes:
    """The directives of a request (RFC 9111, section 5.2.1); None for an absent one. Times are in seconds."""

    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    stale_if_error: int | None = None
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False


NO_WISHES: Final = Wishes()


def wishes(request: Pairs, *, ruled: bool = False) -> Wishes:
    """Return a request's directives, of Cache-Control, or of Pragma if there is none.

    With `ruled` (the configuration has proxy_cache_valid), directives that ask for a newer response are ignored, as in nginx.
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


# The results of `reusable`.
FRESH: Final = "fresh"
STALE: Final = "stale"  # the request accepts it as it is
UPDATING: Final = "updating"  # may be sent while it is revalidated
EXPIRED: Final = "expired"  # must be validated first


def reusable(stored: Freshness, asked: Wishes, now: float, *, updating: bool = False) -> str:
    """Return FRESH, STALE, UPDATING or EXPIRED: the use of a stored response for a request.

    Sources: RFC 9111, sections 4.2.4 and 5.2.1; RFC 5861, section 3. With `updating` the configuration allows any stale response
    while it is revalidated.
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
    """Return True if a stale response may be sent for a failing origin (RFC 9111, section 4.2.4; RFC 5861, section 4).

    `allowed` is the configuration's permission (proxy_cache_use_stale). The origin's prohibition overrides it.
    """
    if stored.must_revalidate or stored.no_cache:
        return False
    if asked.no_cache:
        return False
    return allowed or -stored.left(now) < max(stored.error_grace, asked.stale_if_error or 0)


def invalidates(method: str, status: int) -> bool:
    """Return True if a response to an unsafe or unknown method voids its target's entries (RFC 9111, section 4.4)."""
    return method not in SAFE_METHODS and 200 <= status < 400
