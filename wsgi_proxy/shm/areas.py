"""The pieces of a zone's file, by name: where each lies, and room for it that nobody else can take.

Rules:
- Room is allocated when an area is made, for a page of a mapped file that cannot be had when it is touched kills the process
  (SIGBUS). What the memory file system has no room for (a container's /dev/shm is small) is put into a second file in the
  temporary folder; the directory says so, and thus all workers find it there.
- An area of rows, one for each worker, has room for the first workers and gets more when slots are claimed: most are never used.
- Files are mapped in long spans and not area by area, for Python keeps a descriptor for each mapping, and a worker's are for its
  connections. A file is as long as its spans; nothing is allocated for what no area has.
- The caller holds the header's lock, but for `view`.
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
"""Words of the directory for an area: its name's digest (two), offset (negative: in the second file), size, bytes of a row."""
AREAS_MAX = 1 << 15
SPAN = 32 << 20
"""Bytes that are mapped at once. No area crosses a multiple of it, unless it is longer: then it begins at one."""
_ROWS = 8
"""Workers that an area of rows has room for from the start."""


class Areas:
    """The directory in a zone's header, and the files behind it.

    `state` are three words: how many areas there are, and where each file ends; `words` are the directory's own, which begin at
    byte `start` of the file.
    """

    def __init__(self, path: Path, fd: int, state: memoryview, words: memoryview, start: int) -> None:
        self._path = path
        self._fd = fd
        self._state = state
        self._words = words
        self._start = start
        self._second = -1
        self._known: dict[tuple[int, int], tuple[int, int]] = {}
        """(offset, size) by digest: the directory as far as it was read."""
        self._spans: dict[tuple[int, int], memoryview] = {}
        """What is mapped, by descriptor and offset."""

    def find_or_add(self, name: str, size: int, row: int, claimed: int) -> tuple[int, int]:
        """(offset, size) of an area; one that is new gets `size` zero bytes, or room for the rows below `claimed` if it has rows.

        OSError when there is no room for it anywhere."""
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        first, second = (int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:]))
        state, words = self._state, self._words
        # Take in what others have added since the last time.
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
        """The memory of an area."""
        fd = self._fd if offset > 0 else self._second_file()
        start = abs(offset) // SPAN * SPAN
        key = (fd, start)
        span = self._spans.get(key)
        if span is None or len(span) < abs(offset) - start + size:
            span = self._spans[key] = memoryview(mmap.mmap(fd, max(SPAN, _whole(size)), offset=start))
        return span[abs(offset) - start : abs(offset) - start + size]

    def add_row(self, slot: int) -> None:
        """Make room for a worker's row in every area that has rows. OSError when there is none."""
        words = self._words
        if slot < _ROWS:
            return
        for at in range(0, self._state[0] * ENTRY, ENTRY):
            offset, row = words[at + 2], words[at + 4]
            if row:
                allocate(self._fd if offset > 0 else self._second_file(), abs(offset) + slot * row, row)

    def _place(self, size: int, room: int, entry: int) -> int:
        """The offset of `size` new bytes, of which the first `room` are allocated, as is the directory's entry."""
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
                self._state[2] = PAGE  # no area at 0, which has no sign
        return self._second


def _whole(size: int) -> int:
    """In pages."""
    return -(-size // PAGE) * PAGE


def second_of(path: Path) -> Path:
    """The file for what that of a zone has no room for."""
    return Path(tempfile.gettempdir()) / f"{path.name}.more"


def allocate(fd: int, offset: int, size: int) -> None:
    """Have the file system set this part of the file aside, where it can (not on macOS). OSError when it has no room."""
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(fd, offset, size)
