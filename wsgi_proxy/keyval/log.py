"""Key-value pairs in shared memory, as a log of changes that each worker copies into a dict.

Rules:
- The memory has two halves. Changes are appended to one. A full half is rewritten into the other without replaced entries, and
  one word then switches the halves, so a writer that is killed in between loses nothing.
- A look-up compares one shared word with the number of the last change that this process has read. It takes no lock unless there
  are changes.
- The caller of `append` and `rewrite` holds `lock` and has read all changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_MAGIC, _EPOCH, _END, _OTHER_END, _CHANGES, CURSOR, IDENTITY = range(7)
"""Words of the header. CURSOR and IDENTITY (two words) belong to the synchronization with other machines."""
_HEADER: Final = 64 * 8
_VERSION: Final = 0x6B657976616C0001
_HEAD: Final = Struct("=IIQQQ")
"""The head of a record: the lengths of key and value, expiry, version and number of the change."""
_REMOVED: Final = 0xFFFFFFFF
"""The length of the value in the record of a removed key."""


class Entry(NamedTuple):
    """The last change of one key."""

    value: bytes | None
    """None for a removed key."""
    expires: int
    """Milliseconds since the epoch; 0 for never."""
    version: int
    """The number of the change in Redis; 0 for a change that the other machines do not know."""
    number: int
    """The number of the change on this machine."""


class Memory(Protocol):
    """The part of `SharedMemory` that a log uses."""

    def area(self, name: str, size: int) -> memoryview: ...

    def lock(self, name: str) -> AbstractContextManager[None]: ...


class Log:
    """The log of one zone. `size` is the number of bytes of a half."""

    def __init__(self, memory: Memory, name: str, size: int) -> None:
        self.size = size // 8 * 8
        area = f"keyval {name} {self.size}"
        self._bytes = memory.area(area, _HEADER + 2 * self.size)
        self.words: Any = self._bytes[:_HEADER].cast("Q")
        self.lock: AbstractContextManager[None] = memory.lock(area)
        self._epoch = 0
        self._at = 0
        self._seen = 0

    @property
    def fresh(self) -> bool:
        """True until `open` has been called once on this memory."""
        return not self.words[_MAGIC]

    def open(self) -> None:
        """Mark the memory as in use."""
        self.words[_MAGIC] = _VERSION

    @property
    def changed(self) -> bool:
        """True if there are changes that this process has not read."""
        changes: int = self.words[_CHANGES]
        return changes != self._seen

    @property
    def room(self) -> int:
        """The number of bytes that are free in the present half."""
        words = self.words
        end: int = words[_END + (words[_EPOCH] & 1)]
        return self.size - end

    def read(self) -> tuple[bool, list[tuple[bytes, Entry]]]:
        """Return the changes since the last call, and True if they are the whole contents. The caller holds the lock."""
        words = self.words
        epoch = words[_EPOCH]
        whole = epoch != self._epoch
        at = 0 if whole else self._at
        end = words[_END + (epoch & 1)]
        found = list(self._records(epoch & 1, at, end))
        self._epoch, self._at, self._seen = epoch, end, words[_CHANGES]
        return whole, found

    def _records(self, half: int, at: int, end: int) -> Iterator[tuple[bytes, Entry]]:
        base = _HEADER + half * self.size
        while at < end:
            start = base + at
            key_length, length, expires, version, number = _HEAD.unpack_from(self._bytes, start)
            start += _HEAD.size
            key = bytes(self._bytes[start : start + key_length])
            start += key_length
            value = None if length == _REMOVED else bytes(self._bytes[start : start + length])
            yield key, Entry(value, expires, version, number)
            at += space(key, value)

    def append(self, key: bytes, value: bytes | None, expires: int, version: int) -> Entry:
        """Add a change, for which there is room, and return it."""
        words = self.words
        half = words[_EPOCH] & 1
        entry = Entry(value, expires, version, words[_CHANGES] + 1)
        end = words[_END + half]
        end = self._write(half, end, key, entry)
        # The end is written last: a record that is not complete is not read.
        words[_END + half] = end
        words[_CHANGES] = entry.number
        self._at, self._seen = end, entry.number
        return entry

    def _write(self, half: int, end: int, key: bytes, entry: Entry) -> int:
        value, at = entry.value, _HEADER + half * self.size + end
        length = _REMOVED if value is None else len(value)
        _HEAD.pack_into(self._bytes, at, len(key), length, entry.expires, entry.version, entry.number)
        at += _HEAD.size
        data = key if value is None else key + value
        self._bytes[at : at + len(data)] = data
        return end + space(key, value)

    def rewrite(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Replace the contents by these entries, which fit."""
        words = self.words
        epoch = words[_EPOCH] + 1
        half, end = epoch & 1, 0
        for key, entry in entries:
            end = self._write(half, end, key, entry)
        words[_END + half] = end
        words[_EPOCH] = epoch
        words[_CHANGES] += 1
        self._epoch, self._at, self._seen = epoch, end, words[_CHANGES]


def space(key: bytes, value: bytes | None) -> int:
    """Return the number of bytes that a record takes."""
    return _HEAD.size + len(key) + (0 if value is None else len(value))
