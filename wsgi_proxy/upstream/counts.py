"""The open connections of each server, counted by each worker, known to all, and exact after a worker is killed.

Rules:
- Each worker has a row with a column per server. It writes only its row, without a lock.
- Readers do not sum rows. Each worker also writes every change to a ring buffer, and the others follow the rings. The cost
  depends on the number of changes and not of servers. An entry is one word, so that readers never see a part of it: sequence
  number, server, and the new count. It holds the count and not the difference, so that reading it twice does no harm.
- A reader that has fallen behind a ring reads the row, and continues from the head of the ring as it was before.
- A row counts while its worker's claim on the slot is valid, so the connections of a killed worker vanish.
- With `sync` the connections of other machines are one more row, which the leader of this machine writes (`set_distant`).
- The caller excludes the other threads of its process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..shm import SharedMemory

_RING: Final = 256
_MASK: Final = _RING - 1
_SEQUENCE: Final = 0x7FFFFFFF
SERVERS_MAX: Final = 1 << 16
# Words at the start of a row. The ring and the counts follow.
_GENERATION: Final = 0
_LAST: Final = 1
_PAD: Final = 8
_DISTANT: Final = (-1, 1)
"""In place of a slot and a generation: the row of the other machines."""


class _Other:
    """The state of another worker's row, as far as it was read."""

    __slots__ = ("at", "base", "expected", "generation", "seen", "slot", "stale", "words")

    def __init__(self, slot: int, generation: int, base: int, servers: int, words: memoryview) -> None:
        self.slot = slot
        self.words = words
        self.generation = generation
        self.base = base
        self.seen = [0] * servers
        self.expected = 0
        self.at = 0
        self.stale = -1


class Counts:
    """The open connections of a number of servers. `totals[i]` counts those of server i in all workers at the last `sync`."""

    __slots__ = (
        "_base",
        "_distant",
        "_fork",
        "_header",
        "_others",
        "_own",
        "_ring",
        "_roster",
        "_row",
        "_sequence",
        "_servers",
        "_words",
        "_memory",
        "changed",
        "totals",
    )

    def __init__(self, memory: SharedMemory, name: str, servers: int, sync: bool = False) -> None:
        if servers > SERVERS_MAX:
            raise ValueError(f"more than {SERVERS_MAX} servers in one pool")
        self._memory = memory
        self._header = memory.header
        self._servers = servers
        self._words = memory.area(f"{name}/counts", 8 * memory.workers_max * self._stride, 8 * self._stride).cast("q")
        self._distant: memoryview | None = None
        if sync:
            self._distant = memory.area(f"{name}/distant", 8 * self._stride).cast("q")
            self._distant[_GENERATION] = _DISTANT[1]
        self.totals = [0] * servers
        self.changed: list[int] | None = None
        """A list to which the servers with changed counts are appended, for policies that keep an order by count; or None."""
        self.forked()
        self._fork = memory.when_forked(self.forked)

    @property
    def _stride(self) -> int:
        return _PAD + _RING + self._servers

    def forked(self) -> None:
        """Reset the state in a new process, which has no connections and no slot yet."""
        self._roster = -1
        self._others: list[_Other] = []
        self._own = [0] * self._servers
        self._base = -1
        self._sequence = 0
        self._ring = self._row = 0
        self.totals[:] = self._own

    # --- this worker -----------------------------------------------------------------------------------------------------

    def add(self, index: int) -> None:
        """Count one more connection to server `index`. Call `sync` before the first."""
        count = self._own[index] = self._own[index] + 1
        self.totals[index] += 1
        words = self._words
        words[self._row + index] = count
        self._sequence = sequence = self._sequence + 1 & _SEQUENCE
        words[self._ring + (sequence & _MASK)] = sequence << 32 | index << 16 | count & 0xFFFF
        if self.changed is not None:
            self.changed.append(index)

    def remove(self, index: int) -> None:
        """Count one connection less to server `index`."""
        count = self._own[index] = self._own[index] - 1
        self.totals[index] -= 1
        words = self._words
        words[self._row + index] = count
        self._sequence = sequence = self._sequence + 1 & _SEQUENCE
        words[self._ring + (sequence & _MASK)] = sequence << 32 | index << 16 | count & 0xFFFF
        if self.changed is not None:
            self.changed.append(index)

    # --- other machines --------------------------------------------------------------------------------------------------

    def local(self) -> list[int]:
        """Return the connections of this machine's workers. Call `sync` before."""
        words, row = self._distant, _PAD + _RING
        if words is None:
            return list(self.totals)
        distant: list[int] = words[row : row + self._servers].tolist()
        return [total - other for total, other in zip(self.totals, distant, strict=True)]

    def set_distant(self, counts: Sequence[int]) -> None:
        """Publish the connections of the other machines to the workers of this one. One process at a time calls it."""
        words, row = self._distant, _PAD + _RING
        assert words is not None
        for index, count in enumerate(counts):
            if words[row + index] != count:
                words[row + index] = count
                sequence = words[_LAST] + 1 & _SEQUENCE
                words[_LAST] = sequence
                words[_PAD + (sequence & _MASK)] = sequence << 32 | index << 16 | count & 0xFFFF

    # --- other workers ---------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Read the changes of the other workers since the last call."""
        if self._header[SharedMemory.ROSTER] != self._roster:
            self._attach()
        for other in self._others:
            if other.words[other.at] != other.stale:
                self._follow(other)

    def _follow(self, other: _Other) -> None:
        words, totals, seen, changed = other.words, self.totals, other.seen, self.changed
        ring = other.base + _PAD
        expected = other.expected
        while True:
            entry = words[ring + (expected & _MASK)]
            if entry >> 32 != expected or not entry:
                break
            index = entry >> 16 & 0xFFFF
            count = entry & 0xFFFF
            totals[index] += count - seen[index]
            seen[index] = count
            if changed is not None:
                changed.append(index)
            expected = expected + 1 & _SEQUENCE
        other.expected = expected
        other.at = ring + (expected & _MASK)
        other.stale = entry
        # The next position must hold the entry of the previous round. Otherwise this reader has fallen behind.
        if entry and entry >> 32 != (expected - _RING) & _SEQUENCE:
            self._read_row(other)

    def _read_row(self, other: _Other) -> None:
        """Read the whole row. Changes made meanwhile are read again from the ring, beginning at its head as it was before."""
        words = other.words
        other.expected = _head(words, other.base) + 1 & _SEQUENCE
        other.at = other.base + _PAD + (other.expected & _MASK)
        other.stale = -1
        if words[other.base + _GENERATION] != other.generation:
            return  # the new owner of the slot has not used this pool yet
        row = other.base + _PAD + _RING
        self._replace(other, words[row : row + self._servers].tolist())

    def _replace(self, other: _Other, counts: list[int]) -> None:
        for index, (new, old) in enumerate(zip(counts, other.seen, strict=True)):
            if new != old:
                self.totals[index] += new - old
                if self.changed is not None:
                    self.changed.append(index)
        other.seen = counts

    def _attach(self) -> None:
        """After a worker has started or ended, find the rows that count. Start this worker's row first, if it is new."""
        memory, words = self._memory, self._words
        slot = memory.slot
        self._roster = self._header[SharedMemory.ROSTER]
        if self._base < 0:
            self._start_row(slot, memory.generation(slot))
        known = {(other.slot, other.generation): other for other in self._others}
        self._others = []
        for other_slot, generation in memory.living():
            if other_slot == slot:
                continue
            other = known.pop((other_slot, generation), None)
            if other is None:
                other = _Other(other_slot, generation, other_slot * self._stride, self._servers, words)
                self._read_row(other)
            self._others.append(other)
        if self._distant is not None:
            other = known.pop(_DISTANT, None)
            if other is None:
                other = _Other(_DISTANT[0], _DISTANT[1], 0, self._servers, self._distant)
                self._read_row(other)
            self._others.append(other)
        for gone in known.values():
            self._replace(gone, [0] * self._servers)

    def _start_row(self, slot: int, generation: int) -> None:
        words = self._words
        base = self._base = slot * self._stride
        self._ring = base + _PAD
        self._row = base + _PAD + _RING
        # The sequence continues where the last owner of the slot stopped, so that no reader takes an old entry for a new one.
        self._sequence = _head(words, base)
        for index in range(self._servers):
            words[self._row + index] = 0
        words[base + _GENERATION] = generation


def _head(words: memoryview, base: int) -> int:
    """Return the sequence number of the newest entry of a ring, 0 for an empty one.

    The numbers differ by one round at most, so the newest is the largest, except after the numbers have wrapped around.
    """
    sequences = [entry >> 32 for entry in words[base + _PAD : base + _PAD + _RING].tolist() if entry]
    if not sequences:
        return 0
    newest = max(sequences)
    if newest - min(sequences) > _SEQUENCE // 2:
        newest = max(sequence for sequence in sequences if sequence < _SEQUENCE // 2)
    return newest
