"""What the processes that use one store must know of each other: generations and short locks.

A store has a small mapped file of counters. Each key has a slot in it (by its digest; a few keys share one, which costs
them a needless look at the disk and nothing else) with two counters: `version` changes whenever anything is stored or
removed under the slot, so a copy in a process's memory is current as long as it did not change; `purged` changes only
when something is invalidated, so a fetch that began before that knows that it must not store its answer. Reading them
is a look at memory, no call.

Changes are made under a lock per shard of the slots. The lock is held for a rename and a counter, never for a wait on
the network, and taken with patience but not for ever: a process that is stopped in the middle must not stop the others.
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

SLOTS: Final = 65536
_SHARDS: Final = 64
_USES: Final = 1 << 18
_HEADER: Final = 64
# Header words (64 bits): bytes the last sweep found, bytes stored since, and when it ended.
_SWEPT_BYTES, _STORED_BYTES, _SWEPT_AT, _ENTRIES = range(4)
# For keys whose answers were not stored: half a digest and a moment in seconds, in one word. A key that shares a place with
# another one may push it out, which costs requests for that one a wait.
_PASSES: Final = 1 << 14
_PASSES_AT: Final = _HEADER + SLOTS * 8 + _USES
_VOIDS_AT: Final = _PASSES_AT + _PASSES * 8
_SIZE: Final = _VOIDS_AT + SLOTS * 4
LOCK_PATIENCE: Final = 2.0


_CLAIM: Final = "in-use"


def in_use(directory: str) -> bool:
    """Whether any process has the share in ``directory`` open."""
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


class LockTimeout(OSError):
    """Another process held a shard's lock for longer than anyone should."""


class Share:
    """The counters and locks of one store, in ``directory``; OSError if they cannot be made there."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, 0o700, exist_ok=True)
        self.directory = directory
        # Held for as long as we live: the sign that the directory is in use (see `in_use`).
        self._claim = os.open(os.path.join(directory, _CLAIM), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._claim, fcntl.LOCK_SH)
        self._path = os.path.join(directory, "generations")
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(fd)
            self._identity = found.st_dev, found.st_ino
            if found.st_size < _SIZE:
                # Allocated, not only as long, where the system can: a write into a hole of a mapped file on a full disk
                # would kill the process.
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
        """Per slot, both counters as one number: what a copy in memory is compared by."""
        self._counters = counters.cast("I")
        self._uses = view[_HEADER + SLOTS * 8 : _PASSES_AT]
        self._passes = view[_PASSES_AT:_VOIDS_AT].cast("Q")
        self._voids = view[_VOIDS_AT:].cast("I")
        self._locals = [threading.Lock() for _ in range(_SHARDS)]
        self._fds: dict[int, int] = {}
        self._pid = os.getpid()

    def current(self) -> bool:
        """Whether the counters are still those in the directory: an operator may remove it, or put another in its place."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    @staticmethod
    def slot_of(digest: str) -> int:
        return int(digest[:4], 16)

    def purged(self, slot: int) -> int:
        """How often anything under this slot was invalidated."""
        count: int = self._counters[slot * 2]
        return count

    def changed(self, slot: int) -> None:
        """Say that something was stored under the slot; call it with the lock held."""
        self._counters[slot * 2 + 1] = (self._counters[slot * 2 + 1] + 1) & 0xFFFFFFFF

    def invalidated(self, slot: int) -> None:
        """Say that something under the slot was invalidated; call it with the lock held."""
        self._counters[slot * 2] = (self._counters[slot * 2] + 1) & 0xFFFFFFFF
        self.changed(slot)

    def voided(self, slot: int) -> int:
        """How often the answers of a target under this slot were voided, whatever their keys (slots as those of keys)."""
        count: int = self._voids[slot]
        return count

    def void(self, slot: int) -> None:
        """Void the answers of every target under the slot; call it with the slot's lock held."""
        self._voids[slot] = (self._voids[slot] + 1) & 0x7FFFFFFF

    def invalidate_all(self) -> None:
        """Void every copy in memory and every fetch under way."""
        for slot in range(SLOTS):
            self.invalidated(slot)

    @contextmanager
    def lock(self, slot: int) -> Iterator[None]:
        """Exclude all other processes, threads and greenlets from changing what lies under this slot.

        LockTimeout if that takes longer than it ever should.
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
        """In a new child: descriptors that the fork handed down would share the parent's locks."""
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
        """This process's own descriptor of a shard's lock file."""
        if shard not in self._fds:
            path = os.path.join(self.directory, f"lock.{shard:02d}")
            self._fds[shard] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fds[shard]

    def used(self, digest: str) -> int:
        """Count one more request for a key and return how many there were (proxy_cache_min_uses), up to 255."""
        at = int(digest[4:12], 16) % _USES
        count: int = self._uses[at]
        if count < 255:
            count += 1
            self._uses[at] = count
        return count

    def let_pass(self, digest: str, until: float) -> None:
        """Note that requests for a key need not wait for each other until that moment (seconds since 1970)."""
        self._passes[int(digest[4:12], 16) % _PASSES] = int(digest[12:20], 16) << 32 | int(until) & 0xFFFFFFFF

    def passed_until(self, digest: str) -> float:
        """The moment that `let_pass` noted for a key; 0 if it did not, or if another key took its place."""
        word = self._passes[int(digest[4:12], 16) % _PASSES]
        return float(word & 0xFFFFFFFF) if word >> 32 == int(digest[12:20], 16) else 0.0

    # --- sizes: kept as estimates between sweeps ----------------------------------------------------------------------

    def stored(self, size: int) -> None:
        """Note that the store grew by so many bytes (negative: shrank). An estimate: lost updates are found by a sweep."""
        self._totals[_STORED_BYTES] += size

    def swept(self, size: int, entries: int, at: float) -> None:
        """Note what a sweep found."""
        self._totals[_SWEPT_BYTES] = size
        self._totals[_STORED_BYTES] = 0
        self._totals[_ENTRIES] = entries
        self._totals[_SWEPT_AT] = int(at)

    @property
    def size(self) -> int:
        """Bytes in the store, as far as known."""
        return max(0, self._totals[_SWEPT_BYTES] + self._totals[_STORED_BYTES])

    @property
    def entries(self) -> int:
        """Entries that the last sweep found."""
        return max(0, self._totals[_ENTRIES])

    @property
    def swept_at(self) -> float:
        return float(self._totals[_SWEPT_AT])

    def close(self) -> None:
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
