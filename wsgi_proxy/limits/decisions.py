"""The decision of all `limit_req` on one request.

Rules:
- A request limited by several zones is counted in all of them or in none.
- A zone with `sync` is counted over all machines (`cluster`). This machine keeps the last excess that Redis has told it, and goes
  on from there with its own requests when Redis is late or fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cluster import SharedRates
    from .requests import RateZone


class Rate:
    """One `limit_req` directive. `burst` and `delay` are in thousandths of a request."""

    __slots__ = ("burst", "delay", "zone")

    def __init__(self, zone: RateZone, burst: int, delay: int | None) -> None:
        self.zone = zone
        self.burst = burst * 1000
        self.delay: float = float("inf") if delay is None else delay * 1000

    def wait(self, excess: int) -> int:
        """Return the delay, in milliseconds, of a request with this excess."""
        return 0 if excess <= self.delay else (excess - int(self.delay)) * 1000 // self.zone.rate


class Verdict:
    """The decision on a request: `wait` in milliseconds (None refuses it), the deciding zone, and its excess."""

    __slots__ = ("excess", "wait", "zone")

    def __init__(self, wait: int | None, excess: int = 0, zone: str = "") -> None:
        self.wait = wait
        self.excess = excess
        self.zone = zone


def judge(limits: Sequence[Rate], keys: Sequence[bytes], now: int) -> Verdict | None:
    """Return the decision on a request with these keys at `now` milliseconds; None if no limit applies."""
    active = [(limit, limit.zone.table.digest(key)) for limit, key in zip(limits, keys, strict=True) if 0 < len(key) <= 65535]
    if not active:
        return None
    # The last limit counts the request at once. The others count it only after none has refused it.
    counted = active[-1][0] is limits[-1]
    last = len(active) - 1
    excess = 0
    for number, (limit, digest) in enumerate(active):
        excess = limit.zone.look(digest, now, limit.burst, counted and number == last and limit.zone.counts)
        if excess > limit.burst:
            return Verdict(None, excess, limit.zone.name)
    verdict = Verdict(0)
    if counted:
        limit, _ = active.pop()
        verdict = Verdict(limit.wait(excess), excess, limit.zone.name)
    for limit, digest in reversed(active):
        excess = limit.zone.account(digest, now)
        wait = limit.wait(excess)
        if wait > (verdict.wait or 0):
            verdict = Verdict(wait, excess, limit.zone.name)
    return verdict


def judge_together(limits: Sequence[Rate], keys: Sequence[bytes], now: int, shared: SharedRates) -> Verdict | None:
    """Return the decision of `judge` where zones with `sync` are counted over all machines. This machine alone if Redis fails."""
    active = [(limit, key) for limit, key in zip(limits, keys, strict=True) if 0 < len(key) <= 65535]
    common = [(limit, key) for limit, key in active if limit.zone.sync]
    if not common:
        return judge(limits, keys, now)
    own = [(limit, limit.zone.table.digest(key)) for limit, key in active if not limit.zone.sync]
    for limit, digest in own:
        excess = limit.zone.look(digest, now, limit.burst, False)
        if excess > limit.burst:
            return Verdict(None, excess, limit.zone.name)
    try:
        refused, found = shared.judge([(limit.zone.name, key, limit.zone.rate, limit.burst) for limit, key in common])
    except OSError:
        return judge(limits, keys, now)
    for (limit, key), excess in zip(common, found, strict=False):
        # A refused request is in none of the records, but its own request is in each excess.
        kept = excess if refused < 0 else max(0, excess - 1000)
        limit.zone.adopt(limit.zone.table.digest(key), kept, now)
    if refused >= 0:
        return Verdict(None, found[refused], common[refused][0].zone.name)
    decisive = [(limit, limit.zone.account(digest, now)) for limit, digest in own]
    decisive += [(limit, excess) for (limit, _), excess in zip(common, found, strict=True)]
    limit, excess = max(decisive, key=lambda pair: pair[0].wait(pair[1]))
    return Verdict(limit.wait(excess), excess, limit.zone.name)
