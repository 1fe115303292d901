"""limit_req: the rate of requests per key, counted over all workers (ngx_http_limit_req_module).

Rules:
- The leaky bucket is nginx's: a clock in milliseconds, an excess in thousandths of a request, and integer divisions that round
  down. A request limited by several zones is counted in all of them or in none.
- A request is counted once. An internal redirect does not count again.
- Empty keys and keys of more than 65535 bytes are not limited.
- A full table drops the record that has been idle for the longest time.
- A zone with `sync` is counted over all machines (`cluster`). This machine keeps the last excess that Redis has told it, and goes
  on from there with its own requests when Redis is late or fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ClientGone, Refusal
from ..logs import errorlog
from .decisions import Rate, Verdict, judge, judge_together
from .table import STAMP, VALUE, CountTable, Memory

if TYPE_CHECKING:
    from ..cluster import SharedRates
    from ..config import GuardSettings, LimitReqZone, Template
    from ..exchange import Exchange

PASSED, DELAYED, REJECTED = range(3)
"""The indexes of decisions in a zone's counter; those of a dry run are two higher (`status.LIMIT_STATES`)."""
EXPIRE_MS = 60_000
"""Milliseconds without a request after which a record without excess is removed."""
_LEVEL_BELOW = {"error": "warn", "warn": "notice", "notice": "info", "info": "debug"}
"""The log level of a delay: one below that of a refusal."""
_LOOK_EVERY = 0.25
"""Seconds between two checks whether the client of a delayed request is still connected."""


def monotonic_ms() -> int:
    """Return the milliseconds of a clock that all processes of a machine share."""
    return time.monotonic_ns() // 1_000_000


class RateZone:
    """One `limit_req_zone`: a record per key. STAMP is the time of the last request, and VALUE the excess at that time."""

    __slots__ = ("counter", "counts", "key", "name", "rate", "sync", "table")

    def __init__(self, zone: LimitReqZone, memory: Memory) -> None:
        self.name = zone.name
        self.counter: Any = None
        """Counts the decisions (`status.Counter`), by their index in STATES; None in a zone that is not counted."""
        self.counts = True
        """False for a process that only asks for decisions (`explain`)."""
        self.key: Template = zone.key
        self.rate = zone.rate
        self.sync = zone.sync
        area = f"limit_req {zone.name}"
        self.table = CountTable(memory.area(area, zone.size), memory.lock(area))

    def excess(self, at: int, now: int) -> int:
        """Return the record's excess with one more request at `now`."""
        words = self.table.words
        idle = now - words[at + STAMP]
        if idle < 0:
            # Another worker read its clock a moment later, or the clock jumped back (nginx's rule).
            idle = 1 if idle < -EXPIRE_MS else 0
        excess: int = words[at + VALUE] - self.rate * idle // 1000 + 1000
        return max(0, excess)

    def look(self, digest: tuple[int, int], now: int, burst: int, account: bool) -> int:
        """Return the excess, in thousandths, with one more request. With `account`, count it if the excess is within `burst`."""
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
        """Count a request that `look` has admitted. Return the excess with it."""
        if not self.counts:
            return self.look(digest, now, 0, False)
        table = self.table
        with table.lock:
            table.begin()
            at = table.find(digest)
            excess = self.excess(at, now) if at else 0
            self._count(at or self._insert(digest, now), excess, now)
            table.end()
        return excess

    def adopt(self, digest: tuple[int, int], excess: int, now: int) -> None:
        """Set the excess that Redis has counted, unless this machine has counted more of it, without Redis."""
        table = self.table
        with table.lock:
            table.begin()
            at = table.find(digest)
            if at:
                table.touch(at)
                excess = max(excess, self.excess(at, now) - 1000)
            self._count(at or self._insert(digest, now), excess, now)
            table.end()

    def _count(self, at: int, excess: int, now: int) -> None:
        words = self.table.words
        words[at + VALUE] = excess
        # A clock that jumped back must not lengthen the next idle time.
        if now > words[at + STAMP] or now < words[at + STAMP] - EXPIRE_MS:
            words[at + STAMP] = now

    def _insert(self, digest: tuple[int, int], now: int) -> int:
        """Return a new record. Remove up to two idle records, and the oldest record if the table is full."""
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


class RateCheck:
    """All `limit_req` of a location, as a step of the access guard. `clock` returns milliseconds; `sleep` takes seconds."""

    __slots__ = ("clock", "dry_run", "level", "limits", "shared", "sleep", "status")

    def __init__(
        self,
        settings: GuardSettings,
        zones: Mapping[str, RateZone],
        clock: Callable[[], int] = monotonic_ms,
        sleep: Callable[[float], None] | None = None,
        shared: SharedRates | None = None,
    ) -> None:
        self.limits = tuple(Rate(zones[limit.zone], limit.burst, limit.delay) for limit in settings.limit_req)
        self.status = settings.limit_req_status
        self.level = settings.limit_req_log_level
        self.dry_run = settings.limit_req_dry_run
        self.shared = shared if any(limit.zone.sync for limit in self.limits) else None
        self.clock = clock
        self.sleep = sleep

    def __call__(self, exchange: Exchange) -> None:
        """Delay the request if needed. Raise Refusal if it exceeds a limit, ClientGone if the client leaves during the delay."""
        if exchange.limit_req_status:
            return
        keys = [limit.zone.key(exchange).encode("latin-1") for limit in self.limits]
        if exchange.trace is not None:
            self._explain(exchange, keys)
        if self.shared is None:
            verdict = judge(self.limits, keys, self.clock())
        else:
            verdict = judge_together(self.limits, keys, self.clock(), self.shared)
        if verdict is None:
            return
        suffix = "_DRY_RUN" if self.dry_run else ""
        self._count(keys, verdict)
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

    def _explain(self, exchange: Exchange, keys: Sequence[bytes]) -> None:
        """Note the numbers of each limit, without this request where it is not counted."""
        for limit, key in zip(self.limits, keys, strict=True):
            zone = limit.zone
            excess = zone.look(zone.table.digest(key), self.clock(), 0, False) if key else 0
            rate = f"{zone.rate / 1000:g} requests/s"
            text = (
                f"excess {excess / 1000:.3f} of burst {limit.burst // 1000}" if key else "the key is empty, so it does not apply"
            )
            exchange.why("limit_req", f'zone "{zone.name}", {rate}, key {key.decode("latin-1")}: {text}')

    def _count(self, keys: Sequence[bytes], verdict: Verdict) -> None:
        """Count the decision: a refusal in the zone that refuses, a delay in the one that delays, a pass in all others."""
        decided = (REJECTED if verdict.wait is None else DELAYED) + (2 if self.dry_run else 0)
        for limit, key in zip(self.limits, keys, strict=True):
            counter = limit.zone.counter
            if counter is not None and 0 < len(key) <= 65535:
                if limit.zone.name == verdict.zone and verdict.wait != 0:
                    counter.add(decided)
                elif verdict.wait is not None:
                    counter.add(PASSED)

    def _log(self, what: str, level: str, verdict: Verdict, comma: str, exchange: Exchange) -> None:
        dry = ", dry run" if self.dry_run else ""
        whole, part = divmod(verdict.excess, 1000)
        message = f'{what}{dry}, excess: {whole}.{part:03d}{comma} by zone "{verdict.zone}"'
        errorlog.line(level, message, exchange)
        if exchange.trace is not None:
            exchange.why("limits", message)


def pause(exchange: Exchange, seconds: float, sleep: Callable[[float], None]) -> None:
    """Wait for `seconds`. Raise ClientGone if the client leaves meanwhile, where the server shows that."""
    connection = exchange.connection
    if connection is None:
        sleep(seconds)
        return
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        sleep(min(left, _LOOK_EVERY))
        if connection.client_gone():
            raise ClientGone("client closed connection while its request was delayed")
