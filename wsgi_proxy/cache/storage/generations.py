"""The state that the processes of one store share: generations, short locks and sizes.

Rules:
- A store has a small mapped file of counters. Each key has a slot in it, by its digest. A few keys share a slot, which costs them
  a needless read of the disk.
- A slot has two counters. `version` changes whenever anything is stored or removed under the slot, so a copy in memory is current
  while it is unchanged. `purged` changes only on invalidations, so a fetch that began before one knows that it must not store its
  response. Reading both is a read of memory, without a system call.
- Changes are made under the lock of a shard of the slots. It is held for a rename and a counter, never for a wait on the network.
  A process that is stopped while it holds a lock delays the others by two seconds at most.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mypy_extensions import mypyc_attr

SLOTS: Final = 65536
_SHARDS: Final = 64
_USES: Final = 1 << 18
_HEADER: Final = 64
# Header words (64 bits): bytes that the last sweep found, bytes stored since, the time of its end, and entries that it found.
_SWEPT_BYTES: Final = 0
_STORED_BYTES: Final = 1
_SWEPT_AT: Final = 2
_ENTRIES: Final = 3
# For keys whose responses were not stored: half a digest and a time in seconds, in one word. A key may replace another one that
# shares its word, which costs requests for that one a wait.
_PASSES: Final = 1 << 14
_PASSES_AT: Final = _HEADER + SLOTS * 8 + _USES
_VOIDS_AT: Final = _PASSES_AT + _PASSES * 8
_SIZE: Final = _VOIDS_AT + SLOTS * 4
LOCK_PATIENCE: Final = 2.0


_CLAIM: Final = "in-use"


def in_use(directory: str) -> bool:
    """Return True if any process has the share in `directory` open."""
    try:
        fd = os.open(os.path.join(directory, _CLAIM), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@mypyc_attr(native_class=False)
class LockTimeout(OSError):
    """Another process held a shard's lock for more than LOCK_PATIENCE seconds."""


class Share:
    """The counters and locks of one store, in `directory`. OSError if they cannot be made there."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, 0o700, exist_ok=True)
        self.directory = directory
        # Held until this process closes the share or ends: the sign that the directory is in use (see `in_use`).
        self._claim = os.open(os.path.join(directory, _CLAIM), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._claim, fcntl.LOCK_SH)
        self._path = os.path.join(directory, "generations")
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(fd)
            self._identity = found.st_dev, found.st_ino
            if found.st_size < _SIZE:
                # Allocated, not only extended, if the system can: a write into a hole of a mapped file kills the process if the
                # disk is full.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(fd, 0, _SIZE)
                else:
                    os.ftruncate(fd, _SIZE)
            self._map = mmap.mmap(fd, _SIZE)
        except BaseException:
            os.close(self._claim)
            raise
        finally:
            os.close(fd)
        view = memoryview(self._map)
        self._totals = view[:_HEADER].cast("q")
        counters = view[_HEADER : _HEADER + SLOTS * 8]
        self.states: memoryview = counters.cast("Q")
        """Both counters of each slot as one number, with which copies in memory are compared."""
        self._counters = counters.cast("I")
        self._uses = view[_HEADER + SLOTS * 8 : _PASSES_AT]
        self._passes = view[_PASSES_AT:_VOIDS_AT].cast("Q")
        self._voids = view[_VOIDS_AT:].cast("I")
        self._locals = [threading.Lock() for _ in range(_SHARDS)]
        self._fds: dict[int, int] = {}
        self._pid = os.getpid()

    def current(self) -> bool:
        """Return True if the directory still has these counters. An operator may have removed or replaced it."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    @staticmethod
    def slot_of(digest: str) -> int:
        """Return the slot of a digest, the number of its first four digits."""
        return int(digest[:4], 16)

    def purged(self, slot: int) -> int:
        """Return how often anything under this slot was invalidated."""
        count: int = self._counters[slot * 2]
        return count

    def changed(self, slot: int) -> None:
        """Note that something was stored or removed under the slot. The caller holds its lock."""
        self._counters[slot * 2 + 1] = (self._counters[slot * 2 + 1] + 1) & 0xFFFFFFFF

    def invalidated(self, slot: int) -> None:
        """Note that something under the slot was invalidated. The caller holds its lock."""
        self._counters[slot * 2] = (self._counters[slot * 2] + 1) & 0xFFFFFFFF
        self.changed(slot)

    def voided(self, slot: int) -> int:
        """Return how often the entries of a target under this slot were voided, whatever their keys.

        Targets have slots as keys do.
        """
        count: int = self._voids[slot]
        return count

    def void(self, slot: int) -> None:
        """Void the entries of every target under the slot. The caller holds its lock."""
        self._voids[slot] = (self._voids[slot] + 1) & 0x7FFFFFFF

    def invalidate_all(self) -> None:
        """Void every copy in memory and every running fetch."""
        for slot in range(SLOTS):
            self.invalidated(slot)

    @contextmanager
    def lock(self, slot: int) -> Iterator[None]:
        """Exclude all other processes, threads and greenlets from changes under this slot.

        LockTimeout after LOCK_PATIENCE seconds.
        """
        shard = slot % _SHARDS
        deadline = time.monotonic() + LOCK_PATIENCE
        if self._pid != os.getpid():
            self._forked()
        local = self._locals[shard]
        if not local.acquire(timeout=LOCK_PATIENCE):
            raise LockTimeout(f"the lock {shard} of {self.directory} was not released for {LOCK_PATIENCE} s")
        try:
            fd = self._fd(shard)
            self._flock(fd, shard, deadline)
            try:
                yield
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            local.release()

    def _forked(self) -> None:
        """Close inherited descriptors in a new child process: they would share the parent's locks."""
        self._pid = os.getpid()
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._locals = [threading.Lock() for _ in range(_SHARDS)]

    def _flock(self, fd: int, shard: int, deadline: float) -> None:
        pause = 0.0002
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockTimeout(f"the lock {shard} of {self.directory} was not released in time") from None
                time.sleep(pause)
                pause = min(pause * 2, 0.01)

    def _fd(self, shard: int) -> int:
        """Return this process's descriptor of a shard's lock file."""
        if shard not in self._fds:
            path = os.path.join(self.directory, f"lock.{shard:02d}")
            self._fds[shard] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fds[shard]

    def used(self, digest: str) -> int:
        """Count one more request for a key and return the count, at most 255 (proxy_cache_min_uses)."""
        at = int(digest[4:12], 16) % _USES
        count: int = self._uses[at]
        if count < 255:
            count += 1
            self._uses[at] = count
        return count

    def let_pass(self, digest: str, until: float) -> None:
        """Note that requests for a key need not wait for each other until `until`, in seconds since 1970."""
        self._passes[int(digest[4:12], 16) % _PASSES] = int(digest[12:20], 16) << 32 | int(until) & 0xFFFFFFFF

    def passed_until(self, digest: str) -> float:
        """Return the time that `let_pass` noted for a key; 0 if there is none, or if another key replaced it."""
        word = self._passes[int(digest[4:12], 16) % _PASSES]
        return float(word & 0xFFFFFFFF) if word >> 32 == int(digest[12:20], 16) else 0.0

    # --- sizes: kept as estimates between sweeps ----------------------------------------------------------------------

    def stored(self, size: int) -> None:
        """Note that the store grew by `size` bytes (negative: shrank). It is an estimate, which the next sweep corrects."""
        self._totals[_STORED_BYTES] += size

    def swept(self, size: int, entries: int, at: float) -> None:
        """Note the bytes and entries that a sweep found, and the time of its end in seconds since 1970."""
        self._totals[_SWEPT_BYTES] = size
        self._totals[_STORED_BYTES] = 0
        self._totals[_ENTRIES] = entries
        self._totals[_SWEPT_AT] = int(at)

    @property
    def size(self) -> int:
        """The estimated bytes in the store."""
        return max(0, self._totals[_SWEPT_BYTES] + self._totals[_STORED_BYTES])

    @property
    def entries(self) -> int:
        """Entries that the last sweep found."""
        return max(0, self._totals[_ENTRIES])

    @property
    def swept_at(self) -> float:
        """The end of the last sweep, in seconds since 1970."""
        return float(self._totals[_SWEPT_AT])

    def close(self) -> None:
        """Close the descriptors of the claim and of the locks."""
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
