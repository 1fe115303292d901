"""A body on its way to the client that is copied into the store as it passes.

The first bytes are copied inline. A longer body is then read by a helper beside the request (a greenlet or thread) at the
upstream's pace, and this client reads it from the file. So neither a slow client nor one that leaves delays the others.

Rules:
- A body that ends early, or differs from its announced length, is not stored. A storage that fails stops the copy, never the
  response.
- The leader's client learns from the helper, in memory, how far the copy is and how it ended. It never asks the file's lock,
  which is the leader's own.
- The upstream's body has one reader at a time, the helper or the client's side, and the last one closes it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..errors import TruncatedResponse
from ..logs import errorlog
from .follower import BLOCK, FIRST_PAUSE, LONGEST_PAUSE

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .fetch import Fetch
    from .fill import Fill
    from .storage import Entry

INLINE_MAX: Final = 64 * 1024
"""Bytes that a client which reads nothing can always be sent: they fit into the kernel's buffers, so no leader blocks."""

# The end of a helper's work: the whole body is in the file, the source broke off, or the client's side reads on from the source.
_WHOLE, _BROKEN, _GIVEN_BACK = "whole", "broken", "given back"

Spawn = Callable[[Callable[[], None]], Any]


class Tee:
    """The body of a response that is stored as `entry`. `length` is its announced length in bytes, None without one.

    `fetch` gives the zone, the key's generation, the clock and the means to spawn a helper; `exchange` is for the log.
    """

    def __init__(
        self, body: Iterable[bytes], length: int | None, fill: Fill, entry: Entry, fetch: Fetch, exchange: Exchange | None = None
    ) -> None:
        self._body: Any = body
        self._source: Iterator[bytes] = iter(body)
        self._length = length
        self._fill: Fill | None = fill
        self._name = fill.name
        self._entry = entry
        self._zone = fetch.zone
        self._purged = fetch.purged
        self._spawn = fetch.background.spawn
        self._clock = fetch.background.clock
        self._exchange = exchange
        # The client's own view of the file, once a helper writes it.
        self._view = -1
        # The helper's state: True while it reads the source, the number of bytes copied, the end, and the block not copied.
        self._guard = threading.Lock()
        self._pumping = False
        self._copied = 0
        self._ended = ""
        self._uncopied = b""
        self._begun = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        self._begun = True
        try:
            for block in self._source:
                fill = self._fill
                if fill is not None and self._copy(fill, block) and fill.length >= INLINE_MAX:
                    if self._spawn is not None and fill.length != self._length:
                        yield from self._handed_over(fill, self._spawn, block)
                        return
                yield block
        except Exception:
            # The source failed, or the file. The followers must learn of it now, not when this response is closed.
            if not self._pumping:
                self._give_up()
            raise
        self._complete()
        self._give_up()

    def ready(self) -> bool:
        """Return True if the source's first block can be read without waiting."""
        ready: Any = getattr(self._body, "ready", None)
        return ready is None or bool(ready())

    def next_at_hand(self) -> bool:
        """Return True if the next block, or the end, can be read from the source without waiting."""
        found: Any = None if self._pumping or self._ended else getattr(self._body, "next_at_hand", None)
        return found is not None and bool(found())

    def _copy(self, fill: Fill, block: bytes) -> bool:
        """Copy one block; return False and stop copying if the storage does not take it."""
        limit = self._zone.body_max
        if limit and fill.length + len(block) > limit:
            if self._name:
                # The next response will be as long, so requests for it need not wait for each other.
                self._zone.fills.mark_pass(self._name, self._clock())
            self._give_up()
            return False
        try:
            fill.add(block)
        except OSError as error:
            self._zone.fault("store", error, self._exchange)
            self._give_up()
            return False
        if not self._name and fill.length == self._length:
            # The client may ask again after its last byte, and no request can wait for a private fill.
            self._complete()
        self._copied = fill.length
        return True

    def _complete(self) -> None:
        """Make the copy an entry if it is whole. The source has ended without an error."""
        fill = self._fill
        if fill is None or (self._length is not None and fill.length != self._length):
            return
        self._fill = None
        try:
            fill.finish()
            self._zone.commit(self._entry, fill, self._purged, self._exchange)
        except OSError as error:
            self._zone.fault("store", error, self._exchange)
        finally:
            fill.release()

    def _give_up(self) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.release()

    def _log(self, message: str) -> None:
        errorlog.line("error", message, self._exchange)

    # --- with a helper --------------------------------------------------------------------------------------------------

    def _handed_over(self, fill: Fill, spawn: Spawn, block: bytes) -> Iterator[bytes]:
        """Let a helper read the rest into the file and yield it from there, or from the source if the storage fails.

        `block` was copied last and is not sent yet.
        """
        sent = fill.length - len(block)
        try:
            self._view = os.dup(fill.fd)
            self._pumping = True
            spawn(self._pump)
        except (OSError, RuntimeError) as error:
            # There is no free descriptor, or no free thread.
            self._log(f'"{self._entry.uri}" is not stored: {error}')
            self._pumping = False
            self._give_up()
            yield block
            yield from self._source
            return
        yield from self._read_back(fill.body_offset, sent)
        if self._ended == _GIVEN_BACK:
            yield self._uncopied
            yield from self._source

    def _read_back(self, offset: int, at: int) -> Iterator[bytes]:
        """Yield the bytes of the body from `at` as the helper copies them, up to the last one that it copied."""
        pause = FIRST_PAUSE
        while True:
            # Read before the count, so that the count is the last one.
            ended = self._ended
            while at < self._copied:
                data = os.pread(self._view, min(BLOCK, self._copied - at), offset + at)
                if not data:
                    raise TruncatedResponse("the file that this response was read from became shorter")
                at += len(data)
                pause = FIRST_PAUSE
                yield data
            if ended == _BROKEN:
                raise TruncatedResponse("the upstream's body ended early")
            if ended:
                return
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _pump(self) -> None:
        """Copy the rest of the body at the upstream's pace. It runs in the helper."""
        try:
            for block in self._source:
                fill = self._fill
                if fill is None or (self._closed and not self._wanted(fill)):
                    return
                if not self._copy(fill, block):
                    self._give_back(block)
                    return
            self._ended = _WHOLE
            self._complete()
        except Exception as error:
            self._log(f'the fetch of "{self._entry.uri}" ended early: {error}')
        finally:
            self._ended = self._ended or _BROKEN
            self._give_up()
            if self._pumping:
                self._close_source()

    def _give_back(self, block: bytes) -> None:
        """Leave the rest of the source to the client's side, if there is a client. `block` was read and not copied."""
        with self._guard:
            if not self._closed:
                self._uncopied = block
                self._pumping = False
                self._ended = _GIVEN_BACK

    def _close_source(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def close(self) -> None:
        """Note that the client reads no more.

        A complete copy is stored. A body of known length, or one that followers read, is read on.
        """
        with self._guard:
            if self._closed:
                return
            self._closed = True
            pumping = self._pumping
        view, self._view = self._view, -1
        if view >= 0:
            os.close(view)
        if pumping:
            return
        fill = self._fill
        if fill is not None:
            if self._length is not None and fill.length == self._length:
                self._complete()
            elif self._begun and self._wanted(fill) and self._read_on():
                return
        self._give_up()
        self._close_source()

    def _read_on(self) -> bool:
        """Let a helper read the rest without a client; return False if there is no helper."""
        if self._spawn is None:
            return False
        self._pumping = True
        try:
            self._spawn(self._pump)
        except RuntimeError as error:
            self._log(f'"{self._entry.uri}" is not stored: {error}')
            self._pumping = False
        return self._pumping

    def _wanted(self, fill: Fill) -> bool:
        """Return True if the copy goes on without this client: its end is known, or followers read it."""
        return self._length is not None or fill.followed()
