"""The health of a pool's servers in shared memory: failures, quarantine, active checks and response times.

Rules (ngx_http_upstream_module, max_fails, fail_timeout and slow_start):
- Times are whole seconds since the epoch and are passed in.
- A failure adds one to `fails` and sets both `accessed` and `checked`. There is no sliding window: the count is cleared by a
  success whose request was picked after `fail_timeout` had passed since the last failure (`accessed < checked`).
- `fails >= max_fails` closes a server until `fail_timeout` seconds have passed since `checked`. The next pick sets `checked`
  again, so that one request probes the server and the others wait for another `fail_timeout`.
- A server that failed its active checks is closed until it passes them.
- With `sync` the results of all machines are merged here (`upstream.sync`). The machines reopen a server one after another, so
  that one of them probes it and the others learn the result.
- An address that joins a name after the start recovers like a server after a quarantine (`slow_start`).
- Writers hold the pool's lock in shared memory; readers need no lock. Each change increments the epoch, a single word by which
  other workers notice it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import Server

if TYPE_CHECKING:
    Words = memoryview[int] | list[int]

EPOCH = 0
_PATIENCE = 1
_HEAD = FIRST_FAILS = 8
"""The index of the first column, which holds `fails`."""
# Columns of the shared numbers, with one word per server. The words of an unused index are zero.
_FAILS, _ACCESSED, _CHECKED, _FAILURES, _RECOVERED, _CHECK, HEADER_MS, LAST_MS, _FORCED = range(9)
_COLUMNS = 9

_ABSENT = -1
"""In place of the time of recovery: the address has left its name."""
UNKNOWN, GOOD, BAD = 0, 1, 2
"""The last result of active checks."""
UP, DRAIN, DOWN = 1, 2, 3
"""The operator's word about a server, instead of `down` and `drain` of the configuration; 0 without one."""


def size(servers: int) -> int:
    """Return the bytes of shared memory for a number of servers."""
    return 8 * (_HEAD + _COLUMNS * servers)


@dataclass(frozen=True)
class Standing:
    """A snapshot of one server's numbers for the status page: counts, seconds since the epoch, and milliseconds."""

    fails: int
    failures: int
    accessed: int
    checked: int
    check: int
    header_ms: int
    last_ms: int
    forced: int


class Health:
    """The health of the servers of one pool. `words` are 64-bit words of at least `size(len(servers))` bytes."""

    __slots__ = ("_count", "_limits", "_ramps", "_timeouts", "mandatory", "words")

    def __init__(self, words: Words, servers: Sequence[Server | None]) -> None:
        self.words = words
        self.mandatory = False
        """True keeps a server closed until it has passed an active check."""
        self._count = len(servers)
        self._limits = [0] * len(servers)
        self._timeouts = [0.0] * len(servers)
        self._ramps = [0.0] * len(servers)
        for index, server in enumerate(servers):
            if server is not None:
                self.describe(index, server)

    def describe(self, index: int, server: Server) -> None:
        """Use the index for this server from now on."""
        self._limits[index] = server.max_fails
        self._timeouts[index] = server.fail_timeout
        self._ramps[index] = server.slow_start

    def clear(self, index: int) -> None:
        """Reset the numbers at an index for a new owner. The caller holds the lock."""
        for which in range(_COLUMNS):
            self.words[_HEAD + which * self._count + index] = 0
        self.words[EPOCH] += 1

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """A number that every change increments."""
        return self.words[EPOCH]

    def column(self, which: int) -> list[int]:
        """Return a copy of one column."""
        start = _HEAD + which * self._count
        return list(self.words[start : start + self._count])

    def fails(self, index: int) -> int:
        """Return the failures of a server that no success has cleared."""
        return self.words[_HEAD + _FAILS * self._count + index]

    def failures(self) -> list[int]:
        """Return the failures ever counted, by index. The numbers only grow, so that a worker sees how many are new to it."""
        return self.column(_FAILURES)

    def notable(self) -> list[int]:
        """Return the indexes of servers with failures, closed by an active check, or with an operator's word."""
        fails, checks = self.column(_FAILS), self.column(_CHECK)
        found = [index for index, count in enumerate(fails) if count] if any(fails) else []
        if self.mandatory:
            found += [index for index, check in enumerate(checks) if check != GOOD and not fails[index]]
        elif BAD in checks:
            found += [index for index, check in enumerate(checks) if check == BAD and not fails[index]]
        forced = self.column(_FORCED)
        if any(forced):
            found += [index for index, word in enumerate(forced) if word]
        return found

    def forced(self, index: int) -> int:
        """Return the operator's word about a server: UP, DRAIN or DOWN; 0 without one."""
        return self.words[_HEAD + _FORCED * self._count + index]

    def stopped(self, index: int, server: Server) -> bool:
        """Return True if no new session may begin at the server: by the operator's word, else by the configuration."""
        forced = self.forced(index)
        return forced != UP if forced else server.down or server.drain

    def refused(self, index: int, server: Server) -> bool:
        """Return True if no request may go to the server, not even one of a known session."""
        forced = self.forced(index)
        return forced == DOWN if forced else server.down

    def barred(self, index: int) -> bool:
        """Return True if active checks keep the server closed."""
        check = self.words[_HEAD + _CHECK * self._count + index]
        return check == BAD or (self.mandatory and check == UNKNOWN)

    def closed(self, index: int, now: int) -> bool:
        """Return True if the server is quarantined, or closed by active checks."""
        words, count = self.words, self._count
        if self.barred(index):
            return True
        limit = self._limits[index]
        if not limit or words[_HEAD + index] < limit:
            return False
        return now - words[_HEAD + _CHECKED * count + index] <= self._timeouts[index] + words[_PATIENCE]

    def reopens(self, index: int) -> float:
        """Return the first whole second at which the present quarantine is over."""
        return int(self.words[_HEAD + _CHECKED * self._count + index] + self._timeouts[index] + self.words[_PATIENCE]) + 1

    def unchecked_for(self, index: int, now: int) -> int:
        """Return the seconds since `checked`."""
        return now - self.words[_HEAD + _CHECKED * self._count + index]

    def share(self, index: int, now: int) -> float:
        """Return the part of its weight that a recovering server has now. It grows to 1 over `slow_start` seconds.

        The steps are 64ths, so that sums of weights are exact.
        """
        ramp = self._ramps[index]
        recovered = self.words[_HEAD + _RECOVERED * self._count + index]
        if not ramp or recovered <= 0 or now - recovered >= ramp:
            return 1.0
        return max(1, int(64 * (now - recovered + 1) / (ramp + 1))) / 64

    def average(self, which: int, index: int) -> int:
        """Return the moving average of response times in milliseconds (`HEADER_MS` or `LAST_MS`), 0 without measurements."""
        return self.words[_HEAD + which * self._count + index]

    def standing(self, index: int) -> Standing:
        """Return a snapshot of one server's numbers."""
        at, step = _HEAD + index, self._count
        value = [self.words[at + step * which] for which in range(_COLUMNS)]
        return Standing(
            value[_FAILS], value[_FAILURES], value[_ACCESSED], value[_CHECKED], value[_CHECK], value[HEADER_MS], value[LAST_MS],
            value[_FORCED],
        )  # fmt: skip

    # --- changing, under the lock ----------------------------------------------------------------------------------

    def be_patient(self, seconds: int) -> None:
        """Keep servers closed for this time after their quarantine, in which another machine may probe them."""
        if self.words[_PATIENCE] != seconds:
            self.words[_PATIENCE] = seconds
            self.words[EPOCH] += 1

    def merge(self, index: int, fails: int, others: int, failed: int | None, probed: int | None, recovered: int | None) -> None:
        """Take in the results of other machines: the uncleared failures, and how many of the counted ones are theirs.

        The times are those of a failure, of a probe and of a recovery, or None.
        """
        words, count = self.words, self._count
        at = _HEAD + index
        words[at] = fails
        words[at + _FAILURES * count] += others
        for which, when in ((_ACCESSED, failed), (_CHECKED, failed), (_CHECKED, probed)):
            if when is not None:
                words[at + which * count] = max(words[at + which * count], when)
        if recovered is not None:
            words[at + _RECOVERED * count] = recovered
        words[EPOCH] += 1

    def force(self, index: int, word: int) -> None:
        """Set the operator's word. UP also clears the failures."""
        self.words[_HEAD + _FORCED * self._count + index] = word
        if word == UP:
            self.words[_HEAD + index] = 0
        self.words[EPOCH] += 1

    def picked(self, index: int, now: int) -> None:
        """Note that the server was chosen. If its quarantine has passed, this request is the probe."""
        at = _HEAD + _CHECKED * self._count + index
        if now - self.words[at] > self._timeouts[index]:
            self.words[at] = now
            # Without failures, only the ageing of response times depends on `checked`.
            if self.words[_HEAD + index]:
                self.words[EPOCH] += 1

    def left(self, index: int) -> None:
        """Note that the address is no longer one of its name."""
        self.words[_HEAD + _RECOVERED * self._count + index] = _ABSENT

    def absent(self, index: int) -> bool:
        """Return True if a worker noted that the address left, and none that it returned."""
        return self.words[_HEAD + _RECOVERED * self._count + index] == _ABSENT

    def joined(self, index: int, now: int) -> None:
        """Note that the address is new or has returned: its `slow_start` begins."""
        self.words[_HEAD + _RECOVERED * self._count + index] = now
        self.words[EPOCH] += 1

    def failed(self, index: int, now: int) -> None:
        """Count a failed request."""
        words, count = self.words, self._count
        words[_HEAD + _ACCESSED * count + index] = now
        words[_HEAD + _CHECKED * count + index] = now
        words[_HEAD + _FAILURES * count + index] += 1
        words[_HEAD + index] += 1
        words[EPOCH] += 1

    def passed(self, index: int, now: int) -> bool:
        """Note a successful request. Return True if it cleared the failures."""
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
        """Note the result of active checks. Return True if it is new. A server that passes again starts without failures."""
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
        """Add the response time of a successful request to a moving average."""
        at = _HEAD + which * self._count + index
        self.words[at] = moving_average(self.words[at], milliseconds)


def moving_average(average: int, sample: int) -> int:
    """Return nginx's moving average in whole milliseconds: a twentieth of each new sample."""
    return int(0.5 + 0.05 * sample + 0.95 * average) if average else sample
