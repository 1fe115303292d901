"""Memory shared by the workers of one server: a mapped file that each worker finds by its name.

Rules:
- The file's name is the same for all workers of one arbiter (segment.py).
- A worker claims one slot at its first use and holds a record lock on the slot's byte. The kernel releases the lock whenever the
  process ends, so a slot without a lock is free, and the numbers of its last owner no longer count. No signal handler or exit
  hook is needed.
- Areas are named pieces of the file. A new area is zero. A worker writes only its row of an area, or writes under a lock.
- Locks exclude processes (record locks on bytes far beyond the file's end), and threads and greenlets (a native lock that gevent
  does not replace). The holder must not block or switch greenlets. The lock of a killed holder is released, so each protected
  change must be valid when it is interrupted.
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
"""The number of slots, and so the largest number of workers that share a file."""

_MAGIC = 0x77736769_70783032
# The first eight words of the header. The generations of the slots and the table of areas follow.
_W_MAGIC, _W_ROSTER, _W_CLAIMS, _W_AREAS, _W_END, _W_SECOND_END = range(6)
SLOTS = 8
# Offsets of the bytes that are locked for slots, named locks and leaders. The file never gets as long.
_SLOT_BYTES = 1 << 40
_NAME_BYTES = 1 << 41
_LEADER_BYTES = 1 << 42


class SharedLock(AbstractContextManager[None]):
    """A lock for processes, threads and greenlets, as a reusable context manager. It must not be nested."""

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
        """Replace the native lock in a forked child, because a thread of the parent may have held it."""
        self._local = RLock()


class Fork:
    """A registered function to call in forked children."""

    __slots__ = ("__weakref__", "call")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call


class SharedMemory:
    """One shared file. `SharedMemory.open` returns it."""

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
        """The second of the last `reap`, so that several pools do not repeat it."""
        directory = SLOTS + workers_max
        words = directory + AREAS_MAX * ENTRY
        self._header_size = -(-words * 8 // PAGE) * PAGE
        with self.lock("header"):
            if os.fstat(fd).st_size < self._header_size:
                os.ftruncate(fd, self._header_size)
                # Room for more areas than usual, because the table, unlike areas, cannot move to the second file.
                allocate(fd, 0, (directory + 1024 * ENTRY) * 8)
            header = memoryview(mmap.mmap(fd, self._header_size)).cast("q")
            if not header[_W_END]:
                header[_W_END] = self._header_size
                header[_W_MAGIC] = _MAGIC + workers_max
            if header[_W_MAGIC] != _MAGIC + workers_max:
                raise RuntimeError(f"{path} was made by another version of wsgi_proxy")
        self._areas = Areas(path, fd, header[_W_AREAS : _W_AREAS + 3], header[directory:words], directory * 8)
        self.header = header
        """The header as 64-bit words. The word `ROSTER` changes when a worker starts or ends."""

    ROSTER = _W_ROSTER

    @classmethod
    def open(cls, key: str | Config, *, workers_max: int = WORKERS_MAX, kept: bool = False) -> SharedMemory:
        """Return the shared memory for a key, or for the text of a configuration. Create it if it does not exist.

        The workers of one arbiter get the same file for the same key, and each process one object. A `kept` file outlives them,
        as long as their arbiter lives. Raises OSError if no directory can hold the file.
        """
        if not isinstance(key, str):
            key = "\0".join([key.path, *(text for _, text in key.files)])
        places = directories()
        paths = [where / file_name(f"{workers_max}/{key}", kept) for where in places]
        for path in paths:
            if str(path) in cls._opened:
                return cls._opened[str(path)]
        # Files of this process stay: closing another descriptor of them would release the record locks.
        sweep(places, spare=cls._opened)
        if os.path.exists(paths[-1]):
            paths = paths[-1:]  # another worker found no room in the first directory
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
        """Return `name`, with a number appended if this process has asked for it before.

        Workers that create the same objects in the same order get the same names.
        """
        with self._guard:
            count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    # --- areas and locks -------------------------------------------------------------------------------------------

    def area(self, name: str, size: int, row: int = 0) -> memoryview:
        """Return the area `name` of `size` bytes, zero when new.

        `row` is the bytes per row in an area of `workers_max` rows, of which only those of claimed slots may be accessed. Raises
        ValueError if the area exists with another size, and OSError if there is no room.
        """
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
        """Return the lock of that name. All workers share it, and its holder must not take it again."""
        lock = self._locks.get(name)
        if lock is None:
            digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
            fresh = SharedLock(self._fd, _NAME_BYTES + int.from_bytes(digest, "little"))
            lock = self._locks.setdefault(name, fresh)
        return lock

    def lead(self, name: str) -> bool:
        """Return True if this process is the leader for `name`. It stays the leader until it ends."""
        digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
        return self._try_byte(_LEADER_BYTES + int.from_bytes(digest, "little"))

    # --- workers ---------------------------------------------------------------------------------------------------

    @property
    def slot(self) -> int:
        """This process's slot, from 0, claimed at the first use. RuntimeError if living workers have all slots."""
        self.join()
        assert self._slot is not None
        return self._slot

    def join(self) -> None:
        """Claim a slot if this process has none."""
        if self._slot is None:
            self._claim()

    def generation(self, slot: int) -> int:
        """Return the unique number of the present claim on a slot; 0 for a free slot."""
        generation: int = self.header[SLOTS + slot]
        return generation

    def living(self) -> list[tuple[int, int]]:
        """Return (slot, generation) of every slot claimed at the last `reap`."""
        claimed = self.header[SLOTS : SLOTS + self.workers_max].tolist()
        return [(slot, generation) for slot, generation in enumerate(claimed) if generation]

    def _claim(self) -> None:
        with self._guard, self.lock("roster"):
            if self._slot is not None:
                return
            header = self.header
            self._free_dead()
            for slot in range(self.workers_max):
                if not header[SLOTS + slot] and self._try_byte(_SLOT_BYTES + slot):
                    self._fill_slot(slot)
                    self._slot = slot
                    return
        raise RuntimeError(f"more than {self.workers_max} workers share {self.path}")

    def _fill_slot(self, slot: int) -> None:
        header = self.header
        try:
            with self.lock("header"):  # no area may be added between its rows and the slot
                self._areas.add_row(slot)
                header[_W_CLAIMS] += 1
                header[SLOTS + slot] = header[_W_CLAIMS]
                header[_W_ROSTER] += 1
        except OSError:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _SLOT_BYTES + slot)
            raise

    def reap(self) -> bool:
        """Free the slots of dead workers. Return True if there were any. The cost is about a microsecond per living worker."""
        with self._guard, self.lock("roster"):
            return self._free_dead()

    def _free_dead(self) -> bool:
        header = self.header
        dead = [slot for slot, _ in self.living() if slot != self._slot and self._try_byte(_SLOT_BYTES + slot)]
        for slot in dead:
            header[SLOTS + slot] = 0
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _SLOT_BYTES + slot)
        if dead:
            header[_W_ROSTER] += 1
        return bool(dead)

    def _try_byte(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def when_forked(self, call: Callable[[], None]) -> Fork:
        """Register a function to call in forked children, which have no slot yet. It stays registered while the Fork exists."""
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


def _unlink_own() -> None:
    """Remove the files of a process that is its own arbiter."""
    for path in list(SharedMemory._opened):
        if arbiter_of(Path(path)) == os.getpid():
            Path(path).unlink(missing_ok=True)
            second_of(Path(path)).unlink(missing_ok=True)


atexit.register(_unlink_own)
