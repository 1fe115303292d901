"""A table in shared memory for the limits: fixed records found by a digest of their key, and their order of last use.

Rules:
- The memory is given once and never grows: records of 64 bytes (what nginx needs for an address), free ones in a list, used
  ones in hash chains and in one list from the newest to the oldest.
- Keys are not stored, only 128 bits of a keyed BLAKE2 of them: the secret is drawn when the memory is new, so no client can
  aim at one chain or at another client's record.
- Everything is called under the table's lock, between `begin` and `end`. A process killed in between leaves the mark set,
  and the next one to come rebuilds the lists from the records, which are whole or free at every moment.
- `at`, wherever it is given or taken, is a record's first word; 0 is no record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

# Words of the header.
_MAGIC, _BUSY, _FREE, _FRESH, _NEWEST, _OLDEST, _SECRET = range(7)
_HEADER = 16
_VERSION = 0x6C696D6974730001
# Words of a record. STAMP, VALUE and OWNER belong to whoever uses the table.
_D0, _D1, STAMP, VALUE, OWNER, _CHAIN, _NEWER, _OLDER = range(8)
_RECORD = 8
_halves = Struct("=QQ").unpack


class Memory(Protocol):
    """What the limits need of `zone.Zone`."""

    @property
    def slot(self) -> int: ...

    def area(self, name: str, size: int) -> memoryview: ...

    def lock(self, name: str) -> AbstractContextManager[None]: ...

    def generation(self, slot: int) -> int: ...

    def reap(self) -> bool: ...


class CountTable:
    """A table in `memory` (at least 4096 bytes, zero when new), shared by all that map it; `lock` is its lock."""

    __slots__ = ("_buckets", "_first", "_secret", "_width", "capacity", "lock", "words")

    def __init__(self, memory: memoryview, lock: Any) -> None:
        size = len(memory) // 8
        # One chain for two records on average.
        self.capacity = (size - _HEADER) * 2 // (2 * _RECORD + 1)
        if self.capacity < 8:
            raise ValueError(f"a table needs 4096 bytes, not {len(memory)}")
        self._width = size - _HEADER - self.capacity * _RECORD
        self._buckets = _HEADER
        self._first = _HEADER + self._width
        self.words: Any = memory[: size * 8].cast("Q")
        self.lock = lock
        with lock:
            words = self.words
            if not words[_MAGIC]:
                words[_SECRET], words[_SECRET + 1] = _halves(os.urandom(16))
                words[_FRESH] = self._first
                words[_MAGIC] = _VERSION
            self._secret = Struct("=QQ").pack(words[_SECRET], words[_SECRET + 1])

    def begin(self) -> None:
        """Start a change; the caller holds the lock."""
        words = self.words
        if words[_BUSY]:
            self._rebuild()
        words[_BUSY] = 1

    def end(self) -> None:
        """The change is whole."""
        self.words[_BUSY] = 0

    def digest(self, key: bytes) -> tuple[int, int]:
        """What stands for `key` here; never (0, 0)."""
        first, second = _halves(blake2b(key, digest_size=16, key=self._secret).digest())
        return first, second | 1

    def find(self, digest: tuple[int, int], after: int = 0) -> int:
        """The record of `digest`, or, with `after`, the next one of the same digest; 0 when there is none."""
        words = self.words
        first, second = digest
        at: int = words[after + _CHAIN] if after else words[self._buckets + first % self._width]
        while at and (words[at] != first or words[at + _D1] != second):
            at = words[at + _CHAIN]
        return at

    def insert(self, digest: tuple[int, int], owner: int = 0) -> int:
        """A new record with STAMP and VALUE 0, the newest of all; 0 when the table is full."""
        words = self.words
        at: int = words[_FREE]
        if at:
            words[_FREE] = words[at + _CHAIN]
        else:
            at = words[_FRESH]
            if at + _RECORD > self._first + self.capacity * _RECORD:
                return 0
            words[_FRESH] = at + _RECORD
        words[at + STAMP] = words[at + VALUE] = 0
        words[at + OWNER] = owner
        words[at], words[at + _D1] = digest
        self._link(at)
        return at

    def _link(self, at: int) -> None:
        words = self.words
        bucket = self._buckets + words[at] % self._width
        words[at + _CHAIN] = words[bucket]
        words[bucket] = at
        self._to_front(at)

    def _to_front(self, at: int) -> None:
        words = self.words
        newest = words[_NEWEST]
        words[at + _NEWER] = 0
        words[at + _OLDER] = newest
        words[_NEWEST] = at
        if newest:
            words[newest + _NEWER] = at
        else:
            words[_OLDEST] = at

    def _out_of_order(self, at: int) -> None:
        words = self.words
        newer, older = words[at + _NEWER], words[at + _OLDER]
        if newer:
            words[newer + _OLDER] = older
        else:
            words[_NEWEST] = older
        if older:
            words[older + _NEWER] = newer
        else:
            words[_OLDEST] = newer

    def touch(self, at: int) -> None:
        """Make the record the newest."""
        if self.words[_NEWEST] != at:
            self._out_of_order(at)
            self._to_front(at)

    def remove(self, at: int) -> None:
        """Free the record."""
        words = self.words
        place = self._buckets + words[at] % self._width
        # Free before it is unlinked: whoever rebuilds must not find it.
        words[at + _D1] = 0
        while words[place] != at:
            place = words[place] + _CHAIN
        words[place] = words[at + _CHAIN]
        self._out_of_order(at)
        words[at] = 0
        words[at + _CHAIN] = words[_FREE]
        words[_FREE] = at

    def oldest(self) -> int:
        """The record used longest ago."""
        at: int = self.words[_OLDEST]
        return at

    def records(self) -> Iterator[int]:
        """Every used record, in no order; they may be removed on the way."""
        words = self.words
        for at in range(self._first, words[_FRESH], _RECORD):
            if words[at + _D1]:
                yield at

    def _rebuild(self) -> None:
        """Make the lists anew from the records: the last change was cut short."""
        words = self.words
        words[_FREE] = words[_NEWEST] = words[_OLDEST] = 0
        for bucket in range(self._buckets, self._first):
            words[bucket] = 0
        for at in range(self._first, words[_FRESH], _RECORD):
            if not words[at + _D1]:
                words[at + _CHAIN] = words[_FREE]
                words[_FREE] = at
        for at in sorted(self.records(), key=lambda at: words[at + STAMP]):
            self._link(at)
