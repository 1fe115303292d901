"""limit_req: how fast requests may come, counted for all workers together.

Rules:
- nginx's leaky bucket to the letter (ngx_http_limit_req_module): a clock of milliseconds, an excess in thousandths of a
  request, integer divisions that round down. A request that several zones limit is counted in all of them or in none.
- It is decided once per request; an internal redirect does not ask again.
- An empty key is not limited, nor one of more than 65535 bytes.
- A full table forgets whoever was idle longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import ClientGone, Refusal
from ..logs import errorlog
from .table import STAMP, VALUE, CountTable, Memory

if TYPE_CHECKING:
    from ..config import GuardSettings, LimitReqZone, Template
    from ..exchange import Exchange

EXPIRE_MS = 60_000
"""A record whose excess is gone is dropped when it was idle this long."""
_LEVEL_BELOW = {"error": "warn", "warn": "notice", "notice": "info", "info": "debug"}
"""What a delay is logged at: one level below a refusal."""
_LOOK_EVERY = 0.25
"""How often a delayed request looks whether its client is still there, in seconds."""


def monotonic_ms() -> int:
    """A clock that all processes of a machine share."""
    return time.monotonic_ns() // 1_000_000


class RateZone:
    """One `limit_req_zone`: a record per key with STAMP, the time of its last request, and VALUE, its excess then."""

    __slots__ = ("key", "name", "rate", "table")

    def __init__(self, zone: LimitReqZone, memory: Memory) -> None:
        self.name = zone.name
        self.key: Template = zone.key
        self.rate = zone.rate
        area = f"limit_req {zone.name}"
        self.table = CountTable(memory.area(area, zone.size), memory.lock(area))

    def excess(self, at: int, now: int) -> int:
        """What the record's excess would be with one request more, at `now`."""
        words = self.table.words
        idle = now - words[at + STAMP]
        if idle < 0:
            # Another worker's clock was read a moment later, or (nginx's own rule) the clock jumped back.
            idle = 1 if idle < -EXPIRE_MS else 0
        excess: int = words[at + VALUE] - self.rate * idle // 1000 + 1000
        return max(0, excess)

    def look(self, digest: tuple[int, int], now: int, burst: int, account: bool) -> int:
        """The excess (thousandths of a request) with one request more; when `account`, and it is within `burst`, counted."""
        table = self.table
        with table.lock:
            table.begin()
            at = table.find(digest)
            if at:
                table.touch(at)
                excess = self.excess(at, now)
                if account and excess <= burst:
                    self._count(at, excess, now)
            else:
                excess = 0
                if account:
                    self._count(self._insert(digest, now), 0, now)
            table.end()
        return excess

    def account(self, digest: tuple[int, int], now: int) -> int:
        """Count a request that was let through after a look; the excess with it."""
        table = self.table
        with table.lock:
            table.begin()
            at = table.find(digest)
            excess = self.excess(at, now) if at else 0
            self._count(at or self._insert(digest, now), excess, now)
            table.end()
        return excess

    def _count(self, at: int, excess: int, now: int) -> None:
        words = self.table.words
        words[at + VALUE] = excess
        # A clock that went back must not make the next idle time longer than it is.
        if now > words[at + STAMP] or now < words[at + STAMP] - EXPIRE_MS:
            words[at + STAMP] = now

    def _insert(self, digest: tuple[int, int], now: int) -> int:
        """A new record; on the way up to two idle ones go, and the oldest one by force when the table is full."""
        table = self.table
        self._expire(now)
        at = table.insert(digest)
        if not at:
            table.remove(table.oldest())
            self._expire(now)
            at = table.insert(digest)
        return at

    def _expire(self, now: int) -> None:
        table = self.table
        words = table.words
        for _ in range(2):
            at = table.oldest()
            if not at:
                return
            idle = abs(now - words[at + STAMP])
            if idle < EXPIRE_MS or words[at + VALUE] > self.rate * idle // 1000:
                return
            table.remove(at)


class Rate:
    """One `limit_req` line: a zone, and how much excess it takes. `burst` and `delay` are thousandths of a request."""

    __slots__ = ("burst", "delay", "zone")

    def __init__(self, zone: RateZone, burst: int, delay: int | None) -> None:
        self.zone = zone
        self.burst = burst * 1000
        self.delay: float = float("inf") if delay is None else delay * 1000

    def wait(self, excess: int) -> int:
        """Milliseconds that a request with this excess has to wait."""
        return 0 if excess <= self.delay else (excess - int(self.delay)) * 1000 // self.zone.rate


class Verdict:
    """What the limits say to a request: `wait` in milliseconds, None for a refusal; which zone decided, and its excess."""

    __slots__ = ("excess", "wait", "zone")

    def __init__(self, wait: int | None, excess: int = 0, zone: str = "") -> None:
        self.wait = wait
        self.excess = excess
        self.zone = zone


def judge(limits: Sequence[Rate], keys: Sequence[bytes], now: int) -> Verdict | None:
    """The limits' verdict on a request with these keys (an empty key is not limited) at `now` ms; None when no limit applies."""
    active = [(limit, limit.zone.table.digest(key)) for limit, key in zip(limits, keys, strict=True) if 0 < len(key) <= 65535]
    if not active:
        return None
    # Only the last of all limits is counted when it is looked at: the others not before it is clear that none refuses.
    counted = active[-1][0] is limits[-1]
    last = len(active) - 1
    excess = 0
    for number, (limit, digest) in enumerate(active):
        excess = limit.zone.look(digest, now, limit.burst, counted and number == last)
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


class RateCheck:
    """All `limit_req` of a place, as a step of the guard. `clock` gives milliseconds; `sleep` takes seconds."""

    __slots__ = ("clock", "dry_run", "level", "limits", "sleep", "status")

    def __init__(
        self,
        settings: GuardSettings,
        zones: Mapping[str, RateZone],
        clock: Callable[[], int] = monotonic_ms,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.limits = tuple(Rate(zones[limit.zone], limit.burst, limit.delay) for limit in settings.limit_req)
        self.status = settings.limit_req_status
        self.level = settings.limit_req_log_level
        self.dry_run = settings.limit_req_dry_run
        self.clock = clock
        self.sleep = sleep

    def __call__(self, exchange: Exchange) -> None:
        """Return when the request may go on; Refusal when there are too many, ClientGone when the client left in the delay."""
        if exchange.limit_req_status:
            return
        keys = [limit.zone.key(exchange).encode("latin-1") for limit in self.limits]
        verdict = judge(self.limits, keys, self.clock())
        if verdict is None:
            return
        suffix = "_DRY_RUN" if self.dry_run else ""
        if verdict.wait is None:
            exchange.limit_req_status = "REJECTED" + suffix
            self._log("limiting requests", self.level, verdict, "", exchange)
            if not self.dry_run:
                raise Refusal(status=self.status)
        elif verdict.wait:
            exchange.limit_req_status = "DELAYED" + suffix
            self._log("delaying request", _LEVEL_BELOW[self.level], verdict, ",", exchange)
            if not self.dry_run:
                pause(exchange, verdict.wait / 1000, self.sleep or time.sleep)
        else:
            exchange.limit_req_status = "PASSED"

    def _log(self, what: str, level: str, verdict: Verdict, comma: str, exchange: Exchange) -> None:
        dry = ", dry run" if self.dry_run else ""
        whole, part = divmod(verdict.excess, 1000)
        sentence = f'{what}{dry}, excess: {whole}.{part:03d}{comma} by zone "{verdict.zone}"'
        errorlog.line(level, sentence, exchange)
        if exchange.trace is not None:
            exchange.why("limits", sentence)


def pause(exchange: Exchange, seconds: float, sleep: Callable[[float], None]) -> None:
    """Wait; ClientGone when the client leaves meanwhile, as far as the server lets us see that."""
    connection = exchange.connection
    if connection is None:
        sleep(seconds)
        return
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        sleep(min(left, _LOOK_EVERY))
        if connection.client_gone():
            raise ClientGone("client closed connection while its request was delayed")
