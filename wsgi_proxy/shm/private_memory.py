"""The interface of the shared memory for one process, without a file."""

from __future__ import annotations

import weakref
from _thread import RLock
from pathlib import Path

from .shared_memory import SLOTS, SharedLock, SharedMemory


class PrivateMemory(SharedMemory):
    """The same interface for one process, without a file, for pools that live as long as a request."""

    def __init__(self) -> None:
        self.path = Path("private")
        self.workers_max = 1
        self.reaped = 0
        self._slot = 0
        self._names = {}
        self._locks = {}
        self._views = {}
        self._forked = weakref.WeakSet()
        self._guard = RLock()
        self.header = memoryview(bytearray(8 * (SLOTS + 1))).cast("q")
        self.header[SLOTS] = 1

    def area(self, name: str, size: int, row: int = 0) -> memoryview:
        return self._views.setdefault(name, memoryview(bytearray(size)))

    def lock(self, name: str) -> SharedLock:
        return self._locks.setdefault(name, _PrivateLock())

    def lead(self, name: str) -> bool:
        return True

    def reap(self) -> bool:
        return False


class _PrivateLock(SharedLock):
    __slots__ = ()

    def __init__(self) -> None:
        self._local = RLock()

    def __enter__(self) -> None:
        self._local.acquire()

    def __exit__(self, *exc: object) -> None:
        self._local.release()
