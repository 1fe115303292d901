"""A hash table in shared memory for the limits, with records in the order of their last use.

Rules:
- The memory never grows. It holds records of 64 bytes, the size that nginx needs for an address. Free records are in a list, used
  ones in hash chains and in a list from the newest to the oldest.
- Instead of a key, a record holds 128 bits of a keyed BLAKE2 digest (RFC 7693). The secret is random for each table, so no client
  can cause collisions.
- The caller holds the table's lock and makes changes between `begin` and `end`. If a process is killed in between, the mark stays
  set, and the next process rebuilds the lists from the records, each of which is complete or free at any time.
- `at` is the index of a record's first word; 0 stands for no record.
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
# Words of a record. STAMP, VALUE and OWNER belong to the user of the table.
_D0, _D1, STAMP, VALUE, OWNER, _CHAIN, _NEWER, _OLDER = range(8)
_RECORD = 8
_halves = Struct("=QQ").unpack


class Memory(Protocol):
    """The part of `SharedMemory` that the limits use."""

    @property
    def slot(self) -> int: ...

    def area(self, name: str, size: int) -> memoryview: ...

    def lock(self, name: str) -> AbstractContextManager[None]: ...

    def generation(self, slot: int) -> int: ...

    def reap(self) -> bool: ...


class CountTable:
    """A table in `memory`, at least 4096 bytes that are zero at first. `lock` excludes the other processes."""

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
        """Begin a change. The caller holds the lock."""
        words = self.words
        if words[_BUSY]:
            self._rebuild()
        words[_BUSY] = 1

    def end(self) -> None:
        """End a change."""
        self.words[_BUSY] = 0

    def digest(self, key: bytes) -> tuple[int, int]:
        """Return the digest of a key, never (0, 0)."""
        first, second = _halves(blake2b(key, digest_size=16, key=self._secret).digest())
        return first, second | 1

    def find(self, digest: tuple[int, int], after: int = 0) -> int:
        """Return the record of `digest`, or the next one behind `after`; 0 if there is none."""
        words = self.words
        first, second = digest
        at: int = words[after + _CHAIN] if after else words[self._buckets + first % self._width]
        while at and (words[at] != first or words[at + _D1] != second):
            at = words[at + _CHAIN]
        return at

    def insert(self, digest: tuple[int, int], owner: int = 0) -> int:
        """Return a new record with STAMP and VALUE 0 as the newest; 0 if the table is full."""
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
        # Mark it free before it is unlinked, so that a rebuild does not find it.
        words[at + _D1] = 0
        while words[place] != at:
            place = words[place] + _CHAIN
        words[place] = words[at + _CHAIN]
        self._out_of_order(at)
        words[at] = 0
        words[at + _CHAIN] = words[_FREE]
        words[_FREE] = at

    def oldest(self) -> int:
        """Return the record that was used the longest time ago."""
        at: int = self.words[_OLDEST]
        return at

    def records(self) -> Iterator[int]:
        """Yield every used record, in no order. The caller may remove it."""
        words = self.words
        for at in range(self._first, words[_FRESH], _RECORD):
            if words[at + _D1]:
                yield at

    def _rebuild(self) -> None:
        """Rebuild the lists from the records after an interrupted change."""
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
