"""Counters of one subject (a location, a server, a zone), exact over all workers and over their deaths.

Rules:
- A subject has an area in shared memory with a row of 64-bit words for each worker slot. A worker writes only its row, without a
  lock, and readers add the rows up.
- Counts only grow. A new worker in a slot continues the row of the previous one, so that no count is lost with a worker.
- A subject keeps its area over reloads, because the area is named after it.
- Their number is bounded. Subjects beyond `SUBJECTS_MAX` share one area of their kind.
"""

from __future__ import annotations

import hashlib
from operator import add
from typing import Any, Final

from mypy_extensions import mypyc_attr

from ..shm import SharedMemory

SUBJECTS_MAX: Final = 4096
OTHERS: Final = "(others)"
"""The name of the subject that stands for those beyond the limit."""
_COUNT: Final = 0
_ROWS: Final = 1
_FIRST: Final = 8
_ENTRY: Final = 3
"""Words for each subject in the table: the digest of its name, its kind, and the digest of its group."""
REASON_WORDS: Final = 20
"""The words of a text that says why something failed."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Counter:
    """The counts of one subject. `words` is this worker's row, None until `row()` has made it."""

    def __init__(self, registry: Registry, area: Any, size: int, digest: int) -> None:
        self.digest = digest
        """The number of the subject in the registry's table."""
        self._registry = registry
        self._area = area
        self._size = size
        self.words: Any = None

    def row(self) -> Any:
        """Return this worker's row of words."""
        words = self.words
        if words is None:
            slot = self._registry.slot()
            words = self.words = self._area[slot * self._size * 8 : (slot + 1) * self._size * 8].cast("q")
        return words

    def add(self, index: int) -> None:
        """Count one event."""
        words = self.words
        if words is None:
            words = self.row()
        words[index] += 1

    def rows(self) -> list[list[int]]:
        """Return a copy of each row, by slot."""
        size, rows = self._size, self._registry.rows()
        flat = self._area[: rows * size * 8].cast("q").tolist()
        return [flat[at : at + size] for at in range(0, rows * size, size)]

    def totals(self) -> list[int]:
        """Return the sums of all rows by index."""
        rows = self.rows()
        if not rows:
            return [0] * self._size
        sums = rows[0]
        for row in rows[1:]:
            sums = list(map(add, sums, row))
        return sums


def write_text(words: Any, at: int, text: str) -> None:
    """Write a text into the words from `at` on, cut after 8 * REASON_WORDS bytes."""
    data = text.encode("utf-8", "replace")[: 8 * REASON_WORDS].ljust(8 * REASON_WORDS, b"\0")
    for index in range(REASON_WORDS):
        words[at + index] = int.from_bytes(data[8 * index : 8 * index + 8], "little", signed=True)


def read_text(words: list[int], at: int) -> str:
    """Return the text that `write_text` has written."""
    data = b"".join(word.to_bytes(8, "little", signed=True) for word in words[at : at + REASON_WORDS])
    return data.rstrip(b"\0").decode("utf-8", "ignore")


def digest_of(*names: str) -> int:
    """Return a number for a subject's name; never 0."""
    data = hashlib.blake2b("\0".join(names).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(data, "little") >> 1 or 1


class Registry:
    """All subjects in one shared memory, also those of earlier configurations."""

    def __init__(self, memory: SharedMemory, subjects_max: int = SUBJECTS_MAX) -> None:
        self.memory = memory
        self._subjects_max = subjects_max
        self._table = memory.area("status/subjects", 8 * (_FIRST + _ENTRY * SUBJECTS_MAX)).cast("q")
        self._counters: dict[int, Counter] = {}
        self._slot = -1
        self._fork = memory.when_forked(self.forked)

    def forked(self) -> None:
        """Forget the rows in a forked child, which has another slot."""
        self._slot = -1
        for counter in self._counters.values():
            counter.words = None

    def slot(self) -> int:
        """Return this process's slot, after noting that its rows may be read."""
        if self._slot < 0:
            slot = self.memory.slot
            with self.memory.lock("status/subjects"):
                self._table[_ROWS] = max(self._table[_ROWS], slot + 1)
            self._slot = slot
        return self._slot

    def rows(self) -> int:
        """Return the number of rows that workers have used."""
        rows: int = self._table[_ROWS]
        return rows

    def counter(self, kind: int, size: int, name: str, group: str = "") -> Counter:
        """Return the counter of a subject with `size` words. `kind` is a small number; `name` is unique within the kind."""
        digest = digest_of(str(kind), str(size), name)
        found = self._counters.get(digest)
        if found is None:
            if not self._enter(digest, kind, group, name == OTHERS):
                return self.counter(kind, size, OTHERS)
            found = self._open(digest, size)
        return found

    def _open(self, digest: int, size: int) -> Counter:
        found = self._counters.get(digest)
        if found is None:
            area = self.memory.area(f"status/{digest:x}", 8 * size * self.memory.workers_max, 8 * size)
            found = self._counters[digest] = Counter(self, area, size, digest)
        return found

    def _enter(self, digest: int, kind: int, group: str, last: bool) -> bool:
        """Enter a subject into the table. Return False if the table is full."""
        table = self._table
        with self.memory.lock("status/subjects"):
            count: int = table[_COUNT]
            entries = table[_FIRST : _FIRST + count * _ENTRY].tolist()
            if digest in entries[::_ENTRY]:
                return True
            # The last places are those of the subjects that stand for others.
            if count >= self._subjects_max - (0 if last else 16):
                return False
            at = _FIRST + count * _ENTRY
            table[at], table[at + 1], table[at + 2] = digest, kind, digest_of(group)
            table[_COUNT] = count + 1
        return True

    def group_totals(self, kind: int, size: int) -> tuple[list[int], dict[int, list[int]], dict[int, list[int]]]:
        """Return the sums over all subjects of a kind, those of each group, and the counts of each subject, by their digests.

        The sums include the subjects that only an earlier configuration had, so that no total ever shrinks.
        """
        table = self._table
        entries = table[_FIRST : _FIRST + table[_COUNT] * _ENTRY].tolist()
        totals = [0] * size
        groups: dict[int, list[int]] = {}
        each: dict[int, list[int]] = {}
        for digest, what, group in zip(entries[::_ENTRY], entries[1::_ENTRY], entries[2::_ENTRY], strict=True):
            if what == kind:
                counts = each[digest] = self._open(digest, size).totals()
                if not any(counts):
                    continue
                totals = list(map(add, totals, counts))
                before = groups.get(group)
                groups[group] = counts if before is None else list(map(add, before, counts))
        return totals, groups, each
