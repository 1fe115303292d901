"""Shared memory for the workers of one server, without a server: one mapped file that each of them finds by itself.

Rules:
- The file is named so that all workers of one arbiter find it (segment.py).
- A worker owns one slot, claimed at its first use. It holds a record lock on the slot's byte while it lives; the kernel
  lets go of it however the process ends, so a slot whose lock can be had belongs to nobody, and what its owner wrote
  there no longer counts. No signal handler, no exit hook and no process table is needed for that.
- Areas are pieces of the file by name, zero when new, each mapped once. A worker writes only its own row of an area, or
  writes under a lock.
- Locks exclude processes (record locks on bytes far behind the file's end), threads and greenlets (a native lock that
  gevent does not replace: nothing may switch or block inside). A killed holder lets go; each protected change must
  therefore make sense when it is cut short.
- A process must never close a second descriptor of the file, for POSIX then drops its record locks: one SharedMemory per file
  and process, kept until the end.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import hashlib
import mmap
import os
import weakref
from _thread import RLock
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from .areas import AREAS_MAX, ENTRY, PAGE, Areas, allocate, second_of
from .segment import arbiter_of, directories, file_name, open_locked, sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config

WORKERS_MAX = 256
"""Slots of a file: more living workers than this cannot share it."""

_MAGIC = 0x77736769_70783032
# Words of the header: what each of the first eight is for; the slots' generations and the directory follow.
_W_MAGIC, _W_ROSTER, _W_CLAIMS, _W_AREAS, _W_END, _W_SECOND_END = range(6)
_SLOTS = 8
# Bytes that stand for slots and for named locks; nothing is ever stored that far out.
_SLOT_BYTES = 1 << 40
_NAME_BYTES = 1 << 41
_LEADER_BYTES = 1 << 42


class SharedLock(AbstractContextManager[None]):
    """A short lock for processes, threads and greenlets; a context manager to be used again and again, not nested."""

    __slots__ = ("_byte", "_fd", "_local")

    def __init__(self, fd: int, byte: int) -> None:
        self._fd = fd
        self._byte = byte
        self._local = RLock()

    def __enter__(self) -> None:
        self._local.acquire()
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, self._byte)
        except BaseException:
            self._local.release()
            raise

    def __exit__(self, *exc: object) -> None:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._byte)
        finally:
            self._local.release()

    def forget(self) -> None:
        """In a new child: a thread of the parent may have held the local half."""
        self._local = RLock()


class Fork:
    """Something to call in a child."""

    __slots__ = ("__weakref__", "call")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call


class SharedMemory:
    """One shared file. Use `SharedMemory.open`."""

    _opened: dict[str, SharedMemory] = {}

    def __init__(self, path: Path, fd: int, workers_max: int) -> None:
        self.path = path
        self.workers_max = workers_max
        self._fd = fd
        self._slot: int | None = None
        self._locks: dict[str, SharedLock] = {}
        self._views: dict[str, memoryview] = {}
        self._forked: weakref.WeakSet[Fork] = weakref.WeakSet()
        self._guard = RLock()
        self._names: dict[str, int] = {}
        self.reaped = 0
        """When `reap` was last called, as its callers' clock has it: they share the work."""
        directory = _SLOTS + workers_max
        words = directory + AREAS_MAX * ENTRY
        self._header_size = -(-words * 8 // PAGE) * PAGE
        with self.lock("header"):
            if os.fstat(fd).st_size < self._header_size:
                os.ftruncate(fd, self._header_size)
                # As many areas as most ever have; what they have no room for can be put elsewhere, they cannot.
                allocate(fd, 0, (directory + 1024 * ENTRY) * 8)
            header = memoryview(mmap.mmap(fd, self._header_size)).cast("q")
            if not header[_W_END]:
                header[_W_END] = self._header_size
                header[_W_MAGIC] = _MAGIC + workers_max
            if header[_W_MAGIC] != _MAGIC + workers_max:
                raise RuntimeError(f"{path} was made by another version of this program")
        self._areas = Areas(path, fd, header[_W_AREAS : _W_AREAS + 3], header[directory:words], directory * 8)
        self.header = header
        """The header as 64-bit words; word `ROSTER` changes whenever a worker came or went."""

    ROSTER = _W_ROSTER

    @classmethod
    def open(cls, key: str | Config, *, workers_max: int = WORKERS_MAX) -> SharedMemory:
        """The file for `key`, or for a configuration's text, made when it does not exist. Every worker of one arbiter that
        gives the same key gets the same one; a second call in a process gets the same object. OSError when no folder can
        hold it."""
        if not isinstance(key, str):
            key = "\0".join([key.path, *(text for _, text in key.files)])
        places = directories()
        paths = [where / file_name(f"{workers_max}/{key}") for where in places]
        for path in paths:
            if str(path) in cls._opened:
                return cls._opened[str(path)]
        # Not our own: opening and closing them would let go of our record locks.
        sweep(places, spare=cls._opened)
        if os.path.exists(paths[-1]):
            paths = paths[-1:]  # a fellow found no room elsewhere
        for path in paths:
            fd = open_locked(path)
            try:
                memory = cls._opened[str(path)] = cls(path, fd, workers_max)
                return memory
            except OSError as error:
                os.close(fd)
                if error.errno != errno.ENOSPC or path is paths[-1]:
                    raise
        raise AssertionError

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it when this process has asked for it before. Workers that build the same things
        in the same order get the same names."""
        with self._guard:
            count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    # --- areas and locks -------------------------------------------------------------------------------------------

    def area(self, name: str, size: int, row: int = 0) -> memoryview:
        """`size` bytes shared by all who ask for `name`, zero when new. ValueError when it exists with another size.

        With `row` there are `workers_max` rows of so many bytes, of which only those of claimed slots may be touched. OSError
        when there is no room."""
        with self._guard:
            view = self._views.get(name)
            if view is None:
                with self.lock("header"):
                    claimed = max((slot + 1 for slot, _ in self.living()), default=0)
                    offset, found = self._areas.find_or_add(name, size, row, claimed)
                view = self._views[name] = self._areas.view(offset, found)
            if len(view) != size:
                raise ValueError(f"shared area {name!r} has {len(view)} bytes, not {size}")
            return view

    def lock(self, name: str) -> SharedLock:
        """The lock of that name: the same object for the same name, for all workers. A holder must not take it again."""
        lock = self._locks.get(name)
        if lock is None:
            digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
            fresh = SharedLock(self._fd, _NAME_BYTES + int.from_bytes(digest, "little"))
            lock = self._locks.setdefault(name, fresh)
        return lock

    def lead(self, name: str) -> bool:
        """Whether this process is the one among the workers that does `name`; it stays so until it ends."""
        digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
        return self._try_byte(_LEADER_BYTES + int.from_bytes(digest, "little"))

    # --- workers ---------------------------------------------------------------------------------------------------

    @property
    def slot(self) -> int:
        """This process's slot, from 0; claimed now if it has none. RuntimeError when all are taken by living workers."""
        self.join()
        assert self._slot is not None
        return self._slot

    def join(self) -> None:
        """Claim a slot, if this process has none."""
        if self._slot is None:
            self._claim()

    def generation(self, slot: int) -> int:
        """Which claim of `slot` is in force, never given twice; 0 when nobody has it."""
        generation: int = self.header[_SLOTS + slot]
        return generation

    def living(self) -> list[tuple[int, int]]:
        """(slot, generation) of every claimed slot, as of the last `reap`."""
        claimed = self.header[_SLOTS : _SLOTS + self.workers_max].tolist()
        return [(slot, generation) for slot, generation in enumerate(claimed) if generation]

    def _claim(self) -> None:
        with self._guard, self.lock("roster"):
            if self._slot is not None:
                return
            header = self.header
            self._free_dead()
            for slot in range(self.workers_max):
                if not header[_SLOTS + slot] and self._try_slot(slot):
                    self._fill_slot(slot)
                    self._slot = slot
                    return
        raise RuntimeError(f"more than {self.workers_max} workers share {self.path}")

    def _fill_slot(self, slot: int) -> None:
        header = self.header
        try:
            with self.lock("header"):  # no area is made between its rows and the slot
                self._areas.add_row(slot)
                header[_W_CLAIMS] += 1
                header[_SLOTS + slot] = header[_W_CLAIMS]
                header[_W_ROSTER] += 1
        except OSError:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _SLOT_BYTES + slot)
            raise

    def reap(self) -> bool:
        """Free the slots of dead workers; whether there were any. About a microsecond per living worker."""
        with self._guard, self.lock("roster"):
            return self._free_dead()

    def _free_dead(self) -> bool:
        header = self.header
        dead = [slot for slot, _ in self.living() if slot != self._slot and self._try_slot(slot)]
        for slot in dead:
            header[_SLOTS + slot] = 0
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _SLOT_BYTES + slot)
        if dead:
            header[_W_ROSTER] += 1
        return bool(dead)

    def _try_slot(self, slot: int) -> bool:
        return self._try_byte(_SLOT_BYTES + slot)

    def _try_byte(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def when_forked(self, call: Callable[[], None]) -> Fork:
        """Have `call` called in every later child of this process, where the slot is not ours, while what this gives is kept."""
        fork = Fork(call)
        self._forked.add(fork)
        return fork

    def _in_child(self) -> None:
        self._slot = None
        self._guard = RLock()
        for lock in self._locks.values():
            lock.forget()
        for fork in list(self._forked):
            fork.call()


def _in_child() -> None:
    for memory in list(SharedMemory._opened.values()):
        memory._in_child()


os.register_at_fork(after_in_child=_in_child)


class PrivateMemory(SharedMemory):
    """The same for one process alone, without a file: for pools that come and go with the requests."""

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
        self.header = memoryview(bytearray(8 * (_SLOTS + 1))).cast("q")
        self.header[_SLOTS] = 1

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


def _unlink_own() -> None:
    """At the end of a process that is its own arbiter, its files go."""
    for path in list(SharedMemory._opened):
        if arbiter_of(Path(path)) == os.getpid():
            Path(path).unlink(missing_ok=True)
            second_of(Path(path)).unlink(missing_ok=True)


atexit.register(_unlink_own)
