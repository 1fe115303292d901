"""A body on its way to the client that is copied into the store as it passes.

The first bytes are copied inline. A longer body is then read by a helper beside the request (a greenlet or a thread) at the
upstream's pace, and this client reads it from the file like every follower: so neither a slow nor a vanished client
holds up the others. A body that ends early, is longer or shorter than announced, or does not fit is not stored; a
storage that fails stops the copy and never the answer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from .cacheflight import GrowingBody
from .errors import TruncatedAnswer

if TYPE_CHECKING:
    from .cacheentry import Entry
    from .cacheflight import Fill
    from .cachezone import ZoneCache

logger = logging.getLogger("wsgi_proxy")

# What a client that reads nothing can always be sent: it fits into the kernel's buffers, so the leader never blocks on it.
INLINE_MAX: Final = 64 * 1024

Spawn = Callable[[Callable[[], None]], Any]


class Tee:
    """The body of an answer that is being stored. ``length`` is what it was announced to have, None if it was not."""

    def __init__(
        self,
        body: Iterable[bytes],
        length: int | None,
        fill: Fill,
        entry: Entry,
        zone: ZoneCache,
        purged: int,
        spawn: Spawn | None,
    ) -> None:
        self._body: Any = body
        self._source: Iterator[bytes] = iter(body)
        self._length = length
        self._fill: Fill | None = fill
        self._entry = entry
        self._zone = zone
        self._purged = purged
        self._spawn = spawn
        self._growing: GrowingBody | None = None
        # Of the helper: whether it reads the source, how much it copied, and the block at which the storage failed.
        self._pumping = False
        self._copied = 0
        self._uncopied: bytes | None = None
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
            # The source is at fault, or the file: those who follow must hear of it now, not when this answer is closed.
            if self._growing is None:
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
        """The source ended well: make the copy an entry, if it is whole."""
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

        ``block`` was copied last and is not sent yet.
        """
        try:
            growing = GrowingBody(os.dup(fill.fd), fill.body_offset, self._length, fill.length - len(block))
            self._growing, self._pumping = growing, True
            spawn(self._pump)
        except (OSError, RuntimeError) as error:
            # No descriptor, or no thread, to be had.
            logger.error('"%s" is not stored: %s', self._entry.uri, error)
            self._pumping = False
            self._give_up()
            yield block
            yield from self._source
            return
        try:
            yield from growing
        except TruncatedAnswer:
            if self._uncopied is None:
                raise
            yield from growing.remainder(self._copied)
            yield self._uncopied
            yield from self._source

    def _pump(self) -> None:
        """In the helper: the rest of the body, at the upstream's pace."""
        try:
            for block in self._source:
                fill = self._fill
                if fill is None or (self._closed and not self._wanted(fill)):
                    return
                # Kept before it is tried: when the copy is given up, the client's side must find it.
                self._uncopied = block
                if not self._copy(fill, block):
                    if not self._closed:
                        self._pumping = False
                    return
                self._uncopied = None
            self._complete()
        except Exception as error:
            logger.error('the fetch of "%s" ended early: %s', self._entry.uri, error)
        finally:
            self._give_up()
            if self._pumping:
                self._close_source()

    def _close_source(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def close(self) -> None:
        """The client wants no more: what is complete is stored, and what others wait for, or will end, is read on."""
        if self._closed:
            return
        self._closed = True
        if self._growing is not None:
            self._growing.close()
        if self._pumping:
            return
        fill = self._fill
        if fill is not None and self._growing is None:
            if self._length is not None and fill.length == self._length:
                self._complete()
            elif self._spawn is not None and self._begun and self._wanted(fill):
                self._pumping = True
                self._spawn(self._pump)
                return
        self._give_up()
        self._close_source()

    def _wanted(self, fill: Fill) -> bool:
        """Whether to go on without this client: to an end that is known, or for those who read what we write."""
        return self._length is not None or fill.followed()
