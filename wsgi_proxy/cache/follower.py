"""A follower's end of a shared fetch: waiting for the leader's head, and reading the body while the leader writes it.

Rules:
- A follower that has sent nothing when the leader gives up or dies asks the upstream itself.
- A follower in the middle of a response asks the upstream again, compares the bytes that it has sent with the new body's, and
  goes on behind them. If that cannot be done, or the bytes differ, the response ends in TruncatedResponse and never looks
  complete.
- A body ends where the leader notes its end in the superblock, or at the length that the head announces.
- Waits are short sleeps that grow (a greenlet's sleep under gevent). Nothing here blocks a process.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ..errors import TruncatedResponse
from ..logs import errorlog
from .storage import COMPLETE, FILLING, SUPERBLOCK, VOID, BrokenEntry, Superblock

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..response import Response

BLOCK: Final = 64 * 1024
FIRST_PAUSE: Final = 0.0005
LONGEST_PAUSE: Final = 0.02
FOLLOWED_AT: Final = SUPERBLOCK - 1
"""Offset of a padding byte of the superblock, outside its checksum. A follower sets it for the leader to see."""
_LIVENESS_EVERY: Final = 0.1
_GIVEN_UP: Final = "the fetch that this response was read from was given up"

Again = Callable[[], "Response"]
"""A new request for the same response: TruncatedResponse if the upstream sends none, or another one."""


class Follower:
    """The open file of another request's fill."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, timeout: float) -> Superblock | None:
        """Return the superblock once the head is written.

        None if the leader gave up or died, or after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        pause, look = FIRST_PAUSE, time.monotonic() + _LIVENESS_EVERY
        while True:
            block = self.superblock()
            if block is not None:
                return None if block.state == VOID else block
            now = time.monotonic()
            if now >= deadline:
                return None
            if now >= look:
                if self.leaderless():
                    return None
                look = now + _LIVENESS_EVERY
            time.sleep(min(pause, deadline - now))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def superblock(self) -> Superblock | None:
        """Return the superblock as it is now; None if there is none yet."""
        data = os.pread(self._fd, SUPERBLOCK, 0)
        try:
            return Superblock.unpack(data) if data else None
        except BrokenEntry:
            # Read in the middle of a write. The next read will see the rest.
            return None

    def under_way(self) -> bool:
        """Return True if the leader lives and has written neither a head nor VOID: it waits for the upstream."""
        return self.superblock() is None and not self.leaderless()

    def grows_old_in(self, limit: float) -> float:
        """Return the seconds until the leader has waited for `limit` seconds (ngx_http_proxy_module, proxy_cache_lock_age)."""
        return os.fstat(self._fd).st_mtime + limit - time.time()

    def renew(self) -> None:
        """Restart the age: one more request goes to the upstream, the others wait on."""
        os.utime(self._fd)

    def died(self) -> bool:
        """Return True if the leader was killed before it was done.

        A leader that could not even write VOID (a full disk) has unlinked the file.
        """
        block = self.superblock()
        if block is None:
            return self.leaderless() and os.fstat(self._fd).st_nlink > 0
        return block.state == FILLING and self.leaderless()

    def leaderless(self) -> bool:
        """Return True if no process holds the lock."""
        try:
            # Shared, so that two followers that look at once do not take each other for the leader.
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    def body(
        self,
        block: Superblock,
        length: int | None,
        start: int = 0,
        end: int | None = None,
        *,
        again: Again | None = None,
        patience: float = 60.0,
        exchange: Exchange | None = None,
    ) -> GrowingBody:
        """Return the body as it grows, or its bytes from `start` to `end`. The body takes over the file.

        `length` is the Content-Length, None without one. `again` and `patience` are those of GrowingBody.
        """
        fd, self._fd = self._fd, -1
        try:
            os.pwrite(fd, b"\1", FOLLOWED_AT)
        except OSError as error:
            # If the leader's client leaves, the leader may give up as if there were no follower.
            errorlog.line("warn", f"a shared fetch cannot be marked as followed: {error}", exchange)
        return GrowingBody(Follower(fd), block.body_offset, length, start, end, again=again, patience=patience, exchange=exchange)

    @property
    def fd(self) -> int:
        """The open file's descriptor; -1 once it was closed or handed over."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class GrowingBody:
    """The bytes of a growing body from `start` to `end` (offsets in the body), or to its end.

    `again` sends the request again if the leader gives up. `patience` is the number of seconds for which the body may stand still
    before its leader counts as stopped. It should exceed the leader's own timeout for the upstream.
    """

    __slots__ = ("_again", "_at", "_end", "_exchange", "_follower", "_offset", "_patience", "_response", "_start", "_whole")

    def __init__(
        self,
        follower: Follower,
        offset: int,
        length: int | None,
        start: int = 0,
        end: int | None = None,
        *,
        again: Again | None = None,
        patience: float = 60.0,
        exchange: Exchange | None = None,
    ) -> None:
        self._follower = follower
        self._offset = offset
        self._whole = length
        self._start = self._at = start
        self._end = length if end is None else end
        self._again = again
        self._patience = patience
        self._exchange = exchange
        self._response: Response | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._written()
            return
        except TruncatedResponse as error:
            again = self._again
            if again is None:
                raise
            errorlog.line("warn", f"{error}: the upstream is asked for the rest", self._exchange)
        yield from self._refetched(again)

    def _written(self) -> Iterator[bytes]:
        """Yield the bytes as the leader writes them."""
        pause, look, stalled = FIRST_PAUSE, 0.0, 0.0
        while self._end is None or self._at < self._end:
            wanted = BLOCK if self._end is None else min(BLOCK, self._end - self._at)
            data = os.pread(self._follower.fd, wanted, self._offset + self._at)
            # Read after the data: a head that is appended behind a finished body is not part of it.
            self._note_end()
            if self._end is not None and self._at + len(data) > self._end:
                data = data[: self._end - self._at]
            if data:
                self._at += len(data)
                pause, look = FIRST_PAUSE, 0.0
                yield data
                continue
            if self._end is not None and self._at >= self._end:
                return
            now = time.monotonic()
            if not look:
                look, stalled = now + _LIVENESS_EVERY, now + self._patience
            elif now >= look:
                look = now + _LIVENESS_EVERY
                self._check_leader(now >= stalled)
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _check_leader(self, stalled: bool) -> None:
        if stalled:
            raise TruncatedResponse(f"the fetch that this response was read from did not go on for {self._patience:.0f} s")
        if self._follower.leaderless():
            # Read once more: the leader may have finished right before it unlocked.
            self._note_end()
            block = self._follower.superblock()
            if block is None or block.state != COMPLETE:
                raise TruncatedResponse(_GIVEN_UP)

    def _note_end(self) -> None:
        block = self._follower.superblock()
        if block is None or block.state == FILLING:
            return
        if block.state == VOID:
            raise TruncatedResponse(_GIVEN_UP)
        length = block.body_length
        if self._whole is not None and self._whole != length:
            raise TruncatedResponse("the fetch that this response was read from ended early")
        self._whole = length
        if self._end is None:
            self._end = length

    def _refetched(self, again: Again) -> Iterator[bytes]:
        """Yield the rest from the upstream, whose response must begin with the bytes that were sent."""
        self._response = response = again()
        sent, at = self._at, 0
        for block in response.body:
            data = block
            if at < sent:
                self._compare(data[: sent - at], at)
                data = data[sent - at :]
                at += len(block) - len(data)
            if self._end is not None:
                data = data[: max(0, self._end - at)]
            if data:
                at += len(data)
                yield data
            if self._end is not None and at >= self._end:
                return
        if at < sent or (self._end is not None and at < self._end):
            raise TruncatedResponse("the upstream's second response is shorter than the first")

    def _compare(self, data: bytes, at: int) -> None:
        """Raise TruncatedResponse if bytes of the new body differ from those in the file that were sent."""
        if at < self._start:
            data, at = data[self._start - at :], self._start
        while data:
            stored = os.pread(self._follower.fd, len(data), self._offset + at)
            if not stored or data[: len(stored)] != stored:
                raise TruncatedResponse("the upstream's second response differs from the first")
            data, at = data[len(stored) :], at + len(stored)

    def close(self) -> None:
        self._follower.close()
        response, self._response = self._response, None
        if response is not None:
            response.close()
