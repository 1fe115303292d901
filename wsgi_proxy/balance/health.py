"""Which servers may be used: failures counted, quarantined, probed and forgiven as nginx does it.

Rules (ngx_http_upstream_module, `max_fails`, `fail_timeout`, `slow_start`):
- The clock is whole seconds and is passed in.
- A failure adds one and stamps both times. There is no sliding window: the count is forgiven by a success that was
  picked after the last failure's `fail_timeout` had passed (`accessed < checked`).
- `fails >= max_fails` closes a server until `fail_timeout` seconds have passed since `checked`. The first pick after
  that stamps `checked` again, so that one request probes it and the others wait for another `fail_timeout`.
- A server that an active check found bad is closed until a check finds it good.
- Whoever changes a number here holds the zone's lock; whoever reads needs none. Each change ends by a new epoch, which
  tells the other workers with one read that they must look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import Server

if TYPE_CHECKING:
    Words = memoryview[int] | list[int]

EPOCH = 0
_HEAD = FIRST_FAILS = 8
"""Where the columns begin, with that of the failures."""
# Columns of the shared numbers, one word per server each. A column without a server is all zero.
_FAILS, _ACCESSED, _CHECKED, _FAILURES, _RECOVERED, _CHECK, HEADER_MS, LAST_MS = range(8)
_COLUMNS = 8

UNKNOWN, GOOD, BAD = 0, 1, 2
"""What active checks said last."""


def size(servers: int) -> int:
    """Bytes of shared memory for so many servers."""
    return 8 * (_HEAD + _COLUMNS * servers)


@dataclass(frozen=True)
class Standing:
    """One server's numbers at a moment, for the status page: counts, seconds since the epoch, milliseconds."""

    fails: int
    failures: int
    accessed: int
    checked: int
    check: int
    header_ms: int
    last_ms: int


class Health:
    """The failures of one pool, over `words` (64-bit, shared, at least `size(len(servers))` bytes of them)."""

    __slots__ = ("_count", "_limits", "_ramps", "_timeouts", "mandatory", "words")

    def __init__(self, words: Words, servers: Sequence[Server | None]) -> None:
        self.words = words
        self.mandatory = False
        """A server is closed until an active check found it good."""
        self._count = len(servers)
        self._limits = [0] * len(servers)
        self._timeouts = [0.0] * len(servers)
        self._ramps = [0.0] * len(servers)
        for index, server in enumerate(servers):
            if server is not None:
                self.describe(index, server)

    def describe(self, index: int, server: Server) -> None:
        """The column is this server's from now on."""
        self._limits[index] = server.max_fails
        self._timeouts[index] = server.fail_timeout
        self._ramps[index] = server.slow_start

    def clear(self, index: int) -> None:
        """Forget all about the column's last owner; under the zone's lock."""
        for which in range(_COLUMNS):
            self.words[_HEAD + which * self._count + index] = 0
        self.words[EPOCH] += 1

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Changes with every change below."""
        return self.words[EPOCH]

    def column(self, which: int) -> list[int]:
        """A copy of one column."""
        start = _HEAD + which * self._count
        return list(self.words[start : start + self._count])

    def fails(self, index: int) -> int:
        return self.words[_HEAD + _FAILS * self._count + index]

    def failures(self) -> list[int]:
        """All failures ever counted, per server: it only grows, so that a worker sees how many are new to it."""
        return self.column(_FAILURES)

    def notable(self) -> list[int]:
        """The columns that have failures, or a check that closes them."""
        fails, checks = self.column(_FAILS), self.column(_CHECK)
        found = [index for index, count in enumerate(fails) if count] if any(fails) else []
        if self.mandatory:
            found += [index for index, check in enumerate(checks) if check != GOOD and not fails[index]]
        elif BAD in checks:
            found += [index for index, check in enumerate(checks) if check == BAD and not fails[index]]
        return found

    def barred(self, index: int) -> bool:
        """Whether an active check found the server bad, or must find it good first."""
        check = self.words[_HEAD + _CHECK * self._count + index]
        return check == BAD or (self.mandatory and check == UNKNOWN)

    def closed(self, index: int, now: int) -> bool:
        """Whether the server is quarantined, or barred by active checks."""
        words, count = self.words, self._count
        if self.barred(index):
            return True
        limit = self._limits[index]
        return bool(
            limit and words[_HEAD + index] >= limit and now - words[_HEAD + _CHECKED * count + index] <= self._timeouts[index]
        )

    def reopens(self, index: int) -> float:
        """The first whole second at which a quarantine by failures is over, as far as is known now."""
        return int(self.words[_HEAD + _CHECKED * self._count + index] + self._timeouts[index]) + 1

    def unchecked_for(self, index: int, now: int) -> int:
        """Seconds since `checked`."""
        return now - self.words[_HEAD + _CHECKED * self._count + index]

    def share(self, index: int, now: int) -> float:
        """Which part of its weight a recovering server has now: grows to 1 over `slow_start` seconds, in 64ths, so that sums
        of weights are exact."""
        ramp = self._ramps[index]
        recovered = self.words[_HEAD + _RECOVERED * self._count + index]
        if not ramp or not recovered or now - recovered >= ramp:
            return 1.0
        return max(1, int(64 * (now - recovered + 1) / (ramp + 1))) / 64

    def average(self, which: int, index: int) -> int:
        """The moving average of response times, ms: `HEADER_MS` or `LAST_MS`; 0 when nothing was measured."""
        return self.words[_HEAD + which * self._count + index]

    def standing(self, index: int) -> Standing:
        at, step = _HEAD + index, self._count
        value = [self.words[at + step * which] for which in range(_COLUMNS)]
        return Standing(
            value[_FAILS], value[_FAILURES], value[_ACCESSED], value[_CHECKED], value[_CHECK], value[HEADER_MS], value[LAST_MS]
        )

    # --- changing, under the zone's lock ----------------------------------------------------------------------------

    def picked(self, index: int, now: int) -> None:
        """The server was chosen: if its quarantine had passed, it is on probation now."""
        at = _HEAD + _CHECKED * self._count + index
        if now - self.words[at] > self._timeouts[index]:
            self.words[at] = now
            # Without failures nothing hangs on the stamp but the ageing of response times.
            if self.words[_HEAD + index]:
                self.words[EPOCH] += 1

    def failed(self, index: int, now: int) -> None:
        """A request to the server failed in a way that counts."""
        words, count = self.words, self._count
        words[_HEAD + _ACCESSED * count + index] = now
        words[_HEAD + _CHECKED * count + index] = now
        words[_HEAD + _FAILURES * count + index] += 1
        words[_HEAD + index] += 1
        words[EPOCH] += 1

    def passed(self, index: int, now: int) -> bool:
        """A request to the server went well; True when that cleared its failures."""
        words, count = self.words, self._count
        at = _HEAD + index
        if not words[at] or words[at + _ACCESSED * count] >= words[at + _CHECKED * count]:
            return False
        if self._limits[index] and words[at] >= self._limits[index]:
            words[at + _RECOVERED * count] = now
        words[at] = 0
        words[EPOCH] += 1
        return True

    def checked(self, index: int, good: bool, now: int) -> bool:
        """An active check decided; True when that changed its opinion. A server found good again starts with a clean slate."""
        words, count = self.words, self._count
        at = _HEAD + index
        before, after = words[at + _CHECK * count], GOOD if good else BAD
        if before == after:
            return False
        words[at + _CHECK * count] = after
        if good and before == BAD:
            words[at] = 0
            words[at + _RECOVERED * count] = now
        words[EPOCH] += 1
        return True

    def measured(self, which: int, index: int, milliseconds: int) -> None:
        """A response time of a good answer, into the moving average."""
        at = _HEAD + which * self._count + index
        self.words[at] = moving_average(self.words[at], milliseconds)


def moving_average(average: int, sample: int) -> int:
    """nginx's: a twentieth of the sample, the first one as it is; whole milliseconds."""
    return int(0.5 + 0.05 * sample + 0.95 * average) if average else sample
