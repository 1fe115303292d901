"""Named areas of shared memory: their positions in the files, and the allocation of their pages.

Rules:
- Pages are allocated when an area is made, because a missing page of a mapped file kills the process that touches it (SIGBUS). If
  the file system in memory is full (a container's /dev/shm is small), the area is put into a second file in the temporary
  directory. The table of areas says so, and all workers find it there.
- An area of rows, one per worker, has pages for the first workers. Further rows are allocated when slots are claimed, because
  most slots are never used.
- Files are mapped in long spans instead of area by area, because Python keeps a file descriptor per mapping. A file is as long as
  its spans, but only the pages of areas are allocated.
- The caller holds the header's lock, except for `view`.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import tempfile
from pathlib import Path

from .segment import open_locked

PAGE = mmap.ALLOCATIONGRANULARITY
ENTRY = 5
"""Words per area in the table: the digest of the name (two), offset (negative in the second file), size, bytes of a row."""
AREAS_MAX = 1 << 15
SPAN = 32 << 20
"""Bytes per mapping. No area crosses a multiple of it. A longer area begins at a multiple."""
_ROWS = 8
"""The number of rows that are allocated with an area of rows."""


class Areas:
    """The table of areas in the header, and the files.

    `state` has three words: the number of areas, and the end of each file. `words` are those of the table, which begins at byte
    `start` of the file.
    """

    def __init__(self, path: Path, fd: int, state: memoryview, words: memoryview, start: int) -> None:
        self._path = path
        self._fd = fd
        self._state = state
        self._words = words
        self._start = start
        self._second = -1
        self._known: dict[tuple[int, int], tuple[int, int]] = {}
        """(offset, size) by digest, as far as the table was read."""
        self._spans: dict[tuple[int, int], memoryview] = {}
        """The mappings, by file descriptor and offset."""

    def find_or_add(self, name: str, size: int, row: int, claimed: int) -> tuple[int, int]:
        """Return the offset and size of an area, and add it if it is new.

        A new area has `size` zero bytes. If it has rows, only the rows below `claimed` are allocated. Raises OSError if there is
        no room.
        """
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        first, second = (int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:]))
        state, words = self._state, self._words
        # Read the entries that other processes have added.
        for at in range(len(self._known) * ENTRY, state[0] * ENTRY, ENTRY):
            self._known[words[at], words[at + 1]] = (words[at + 2], words[at + 3])
        found = self._known.get((first, second))
        if found is not None:
            return found
        if state[0] == AREAS_MAX:
            raise RuntimeError(f"{self._path} holds no more than {AREAS_MAX} areas")
        at = state[0] * ENTRY
        rows = max(_ROWS, claimed) * row
        offset = self._place(size, min(size, rows) if row else size, at)
        words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4] = first, second, offset, size, row
        state[0] += 1
        return offset, size

    def view(self, offset: int, size: int) -> memoryview:
        """Return the memory of an area."""
        fd = self._fd if offset > 0 else self._second_file()
        start = abs(offset) // SPAN * SPAN
        key = (fd, start)
        span = self._spans.get(key)
        if span is None or len(span) < abs(offset) - start + size:
            span = self._spans[key] = memoryview(mmap.mmap(fd, max(SPAN, _whole(size)), offset=start))
        return span[abs(offset) - start : abs(offset) - start + size]

    def add_row(self, slot: int) -> None:
        """Allocate a worker's row in every area of rows. Raise OSError if there is no room."""
        words = self._words
        if slot < _ROWS:
            return
        for at in range(0, self._state[0] * ENTRY, ENTRY):
            offset, row = words[at + 2], words[at + 4]
            if row:
                allocate(self._fd if offset > 0 else self._second_file(), abs(offset) + slot * row, row)

    def _place(self, size: int, room: int, entry: int) -> int:
        """Return the offset of `size` new bytes. Allocate the first `room` of them and the table's entry."""
        whole = _whole(size)
        try:
            allocate(self._fd, self._start + entry * 8, ENTRY * 8)
            try:
                return self._append(self._fd, 1, whole, room)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            return -self._append(self._second_file(), 2, whole, room)
        except OSError as error:
            places = f"{self._path.parent} and {tempfile.gettempdir()}"
            raise OSError(error.errno, f"no room for {size} bytes of shared memory in {places}: {error.strerror}") from error

    def _append(self, fd: int, end: int, whole: int, room: int) -> int:
        offset: int = self._state[end]
        if offset % SPAN + whole > SPAN:
            offset = -(-offset // SPAN) * SPAN
        length = -(-(offset + whole) // SPAN) * SPAN
        if os.fstat(fd).st_size < length:
            os.ftruncate(fd, length)
        allocate(fd, offset, room)
        self._state[end] = offset + whole
        return offset

    def _second_file(self) -> int:
        if self._second < 0:
            self._second = open_locked(second_of(self._path))
            if self._state[2] == 0:
                self._state[2] = PAGE  # an offset of 0 could not be negative
        return self._second


def _whole(size: int) -> int:
    """Return the size rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


def second_of(path: Path) -> Path:
    """Return the path of the second file."""
    return Path(tempfile.gettempdir()) / f"{path.name}.more"


def allocate(fd: int, offset: int, size: int) -> None:
    """Allocate a part of a file, where the system can (not on macOS). Raise OSError if there is no room."""
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(fd, offset, size)
