"""A body on its way to the client that is copied into the store as it passes.

The first bytes are copied inline. A longer body is then read by a helper beside the request (a greenlet or a thread) at the
upstream's pace, and this client reads it from the file: so neither a slow nor a vanished client holds up the others.

Rules:
- A body that ends early, is longer or shorter than announced, or does not fit is not stored; a storage that fails stops the
  copy and never the answer.
- The leader's client learns from the helper, in memory, how far the copy is and how it ended. It never asks the file's lock,
  which is the leader's own.
- The upstream's body has one reader at a time, the helper or the client's side, and the last one closes it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..errors import TruncatedResponse
from .growing_body import BLOCK, FIRST_PAUSE, LONGEST_PAUSE

if TYPE_CHECKING:
    from .fill import Fill
    from .storage import Entry
    from .zone import ZoneCache

logger = logging.getLogger("wsgi_proxy")

# What a client that reads nothing can always be sent: it fits into the kernel's buffers, so the leader never blocks on it.
INLINE_MAX: Final = 64 * 1024

# How a helper's work ended: the whole body is in the file, the source broke off, or the client's side reads on from the source.
_WHOLE, _BROKEN, _GIVEN_BACK = "whole", "broken", "given back"

Spawn = Callable[[Callable[[], None]], Any]


class Tee:
    """The body of an answer that is being stored. `length` is the length that it was announced to have, None without one."""

    def __init__(
        self,
        body: Iterable[bytes],
        length: int | None,
        fill: Fill,
        entry: Entry,
        zone: ZoneCache,
        purged: int,
        spawn: Spawn | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._body: Any = body
        self._source: Iterator[bytes] = iter(body)
        self._length = length
        self._fill: Fill | None = fill
        self._fill_name = fill.name
        self._entry = entry
        self._zone = zone
        self._purged = purged
        self._spawn = spawn
        self._clock = clock
        # The client's own view of the file, once a helper writes it.
        self._view = -1
        # Of the helper: whether it reads the source, how much it copied, how that ended, and the block that was not copied.
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
            # The source is at fault, or the file: the followers must hear of it now, not when this answer is closed.
            if not self._pumping:
                self._give_up()
            raise
        self._complete()
        self._give_up()

    def ready(self) -> bool:
        """Whether the source's first block is at hand."""
        ready: Any = getattr(self._body, "ready", None)
        return ready is None or bool(ready())

    def _copy(self, fill: Fill, block: bytes) -> bool:
        """Copy one block; False, and no copy any more, if the storage does not take it."""
        limit = self._zone.body_max
        if limit and fill.length + len(block) > limit:
            if self._fill_name:
                # The next answer will be as long: requests for it need not wait for each other.
                self._zone.mark_pass(self._fill_name, self._clock())
            self._give_up()
            return False
        try:
            fill.add(block)
        except OSError as error:
            self._zone.fault("store", error)
            self._give_up()
            return False
        self._copied = fill.length
        return True

    def _complete(self) -> None:
        """Make the copy an entry, if it is whole: the source ended well."""
        fill = self._fill
        if fill is None or (self._length is not None and fill.length != self._length):
            return
        self._fill = None
        try:
            fill.finish()
            self._zone.commit(self._entry, fill, self._purged)
        except OSError as error:
            self._zone.fault("store", error)
        finally:
            fill.release()

    def _give_up(self) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.release()

    # --- with a helper --------------------------------------------------------------------------------------------------

    def _handed_over(self, fill: Fill, spawn: Spawn, block: bytes) -> Iterator[bytes]:
        """Let a helper read the rest into the file, and read it from there; if the storage fails it, from the source.

        `block` was copied last and is not sent yet.
        """
        sent = fill.length - len(block)
        try:
            self._view = os.dup(fill.fd)
            self._pumping = True
            spawn(self._pump)
        except (OSError, RuntimeError) as error:
            # No descriptor, or no thread, to be had.
            logger.error('"%s" is not stored: %s', self._entry.uri, error)
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
        """The bytes of the body from `at`, as the helper copies them, up to the last that it copied."""
        pause = FIRST_PAUSE
        while True:
            # Looked at before the count: then the count is the last one.
            ended = self._ended
            while at < self._copied:
                data = os.pread(self._view, min(BLOCK, self._copied - at), offset + at)
                if not data:
                    raise TruncatedResponse("the file that this answer was read from became shorter")
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
        """Copy the rest of the body, in the helper, at the upstream's pace."""
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
            logger.error('the fetch of "%s" ended early: %s', self._entry.uri, error)
        finally:
            self._ended = self._ended or _BROKEN
            self._give_up()
            if self._pumping:
                self._close_source()

    def _give_back(self, block: bytes) -> None:
        """Leave the rest of the source to the client's side, if there is a client; `block` was read and not copied."""
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
        """Note that the client wants no more: what is complete is stored, and a body that others wait for, or that will end, is
        read on."""
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
        """Let a helper read the rest, with no client; whether there is one."""
        if self._spawn is None:
            return False
        self._pumping = True
        try:
            self._spawn(self._pump)
        except RuntimeError as error:
            logger.error('"%s" is not stored: %s', self._entry.uri, error)
            self._pumping = False
        return self._pumping

    def _wanted(self, fill: Fill) -> bool:
        """Whether to go on without this client: to an end that is known, or for the followers."""
        return self._length is not None or fill.followed()
