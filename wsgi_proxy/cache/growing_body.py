"""A body that is read from a file while another request writes it.

Rules:
- The reader stops at the end that the writer notes in the superblock, or at the length that the head announces.
- A writer that gives up (a full disk, a body over the limit) or dies leaves the reader in the middle of an answer. The reader
  then asks the upstream itself, compares the bytes that it has sent with the new body's, and goes on behind them. Where
  that cannot be done, or the bytes differ, the answer ends in TruncatedAnswer and never looks complete.
- Waits are short sleeps that grow (a greenlet's sleep under gevent).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ..errors import TruncatedResponse
from .storage import COMPLETE, FILLING, VOID

if TYPE_CHECKING:
    from ..exchange import Response
    from .fill import Follower

logger = logging.getLogger("wsgi_proxy")

BLOCK: Final = 64 * 1024
FIRST_PAUSE: Final = 0.0005
LONGEST_PAUSE: Final = 0.02
LIVENESS_EVERY: Final = 0.1

_GIVEN_UP: Final = "the fetch that this answer was read from was given up"

Again = Callable[[], "Response"]
"""A new request for the same answer: TruncatedAnswer if the upstream gives none, or gives another answer."""


class GrowingBody:
    """The bytes from `start` to the body's end, or to `end` where it is given (offsets in the body).

    `patience` is for how many seconds a body may stand still before its writer counts as stopped; the writer's own timeout for
    its upstream should be shorter.
    """

    __slots__ = ("_again", "_response", "_at", "_end", "_follower", "_offset", "_patience", "_start", "_whole")

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
    ) -> None:
        self._follower = follower
        self._offset = offset
        self._whole = length
        self._start = self._at = start
        self._end = length if end is None else end
        self._again = again
        self._patience = patience
        self._response: Response | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._written()
            return
        except TruncatedResponse as error:
            again = self._again
            if again is None:
                raise
            logger.warning("%s: the upstream is asked for the rest", error)
        yield from self._refetched(again)

    def _written(self) -> Iterator[bytes]:
        """The bytes as the writer writes them."""
        pause, look, stalled = FIRST_PAUSE, 0.0, 0.0
        while self._end is None or self._at < self._end:
            wanted = BLOCK if self._end is None else min(BLOCK, self._end - self._at)
            data = os.pread(self._follower.fd, wanted, self._offset + self._at)
            # Looked at after the data: a head appended behind a finished body is not part of it.
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
                look, stalled = now + LIVENESS_EVERY, now + self._patience
            elif now >= look:
                look = now + LIVENESS_EVERY
                self._check_leader(now >= stalled)
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _check_leader(self, stalled: bool) -> None:
        if stalled:
            raise TruncatedResponse(f"the fetch that this answer was read from did not go on for {self._patience:.0f} s")
        if self._follower.leaderless():
            # Looked at once more: the writer may have finished right before it let go.
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
            raise TruncatedResponse("the fetch that this answer was read from ended early")
        self._whole = length
        if self._end is None:
            self._end = length

    def _refetched(self, again: Again) -> Iterator[bytes]:
        """The rest, from the upstream: its answer must begin with the bytes that were sent."""
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
            raise TruncatedResponse("the upstream's second answer is shorter than the first")

    def _compare(self, data: bytes, at: int) -> None:
        """Compare bytes of the new body with those in the file, as far as they were sent."""
        if at < self._start:
            data, at = data[self._start - at :], self._start
        while data:
            stored = os.pread(self._follower.fd, len(data), self._offset + at)
            if not stored or data[: len(stored)] != stored:
                raise TruncatedResponse("the upstream's second answer is not the one that was begun")
            data, at = data[len(stored) :], at + len(stored)

    def close(self) -> None:
        self._follower.close()
        response, self._response = self._response, None
        if response is not None:
            response.close()
