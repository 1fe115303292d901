"""The leader's end of a fetch that several requests share: a file that one writes while others read it.

Rules:
- The file that a new entry is written to is also the lock and the meeting point, for all processes alike.
- The request that can flock the file leads. It asks the upstream, writes head and body as they arrive, and at the end has the
  file renamed into the store. The kernel releases the lock of a killed leader.
- All others follow (see `follower.py`). They read the open file, which stays readable whatever happens to its name.
- COMPLETE in the superblock marks the end of the body, whether or not the store takes the file afterwards. VOID, or a lock
  released before COMPLETE, tells the followers that no more bytes will come.
- The lock belongs to the leader's open file description, which a duplicate of the descriptor shares. So everyone else opens the
  path again, and the leader unlocks explicitly.
- A name is removed or adopted only while it still names the leader's own file.
- A name whose last response could not be stored is passed for ten seconds: requests for it do not wait for each other.
- If an operator removes the cache's directory, it is made again. If it cannot be written, each request asks the upstream itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from ..logs import errorlog
from .follower import FOLLOWED_AT, LONGEST_PAUSE, Follower
from .storage import COMPLETE, FILLING, SUPERBLOCK, VOID, BrokenEntry, Entry, Share, Superblock, load, new_id, same_file

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .zone import ZoneCache

_T = TypeVar("_T")

_PASS_FOR: Final = 10.0
_STORING: Final = 0.05
"""Seconds that a request which cannot follow a fill waits for its end."""
_COMMITTING: Final = 5.0
"""Seconds that a request which may not be forwarded waits for a whole response to be stored."""


class Fill:
    """An entry while it is written. `path` is the file until the store adopts it; `exchange` is the leader, for the log."""

    __slots__ = ("_head", "_offset", "crc", "exchange", "fd", "length", "path", "state", "id", "when_released")

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.exchange: Exchange | None = None
        self.path = path
        self.length = 0
        self.crc = 0
        self.state = 0
        self.id = new_id()
        self.when_released: Callable[[bool], None] | None = None
        """Called once when the fill is released, with True if the store took the file."""
        self._head = b""
        self._offset = 0

    def begin(self, entry: Entry) -> None:
        """Write the head. From now on followers can send it."""
        self._head = head = entry.head()
        self._offset = SUPERBLOCK + len(head)
        _write_all(self.fd, self._superblock(FILLING, -1) + head)
        self.state = FILLING

    def add(self, block: bytes) -> None:
        """Append a block of the body. OSError if the disk does not take it."""
        _write_all(self.fd, block)
        self.crc = zlib.crc32(block, self.crc)
        self.length += len(block)

    def finish(self) -> None:
        """Mark the file COMPLETE. The store still has to adopt it."""
        self._mark(self.fd, COMPLETE, self.length)

    def _mark(self, fd: int, state: int, length: int) -> None:
        os.pwrite(fd, self._superblock(state, length), 0)
        self.state = state

    @property
    def name(self) -> str:
        """The name by which requests meet; "" for a private fill."""
        name = os.path.basename(self.path)
        return "" if name.startswith("private.") else name

    def followed(self) -> bool:
        """Return True if a follower has read the body while it is written."""
        return os.pread(self.fd, 1, FOLLOWED_AT) == b"\1"

    def _superblock(self, state: int, length: int) -> bytes:
        block = Superblock(state, self._head, SUPERBLOCK, self._offset, length, self.crc, self.id)
        return block.pack()

    @property
    def body_offset(self) -> int:
        return self._offset

    def release(self) -> None:
        """Unlock and close the file, in whatever state it is. Safe to call again.

        A file that was not adopted loses its name, and is VOID unless it is COMPLETE.
        """
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self.when_released is not None:
            self.when_released(not self.path)
        try:
            if self.path:
                # Unlinked first, so that the next request begins a new fill instead of following a void one.
                if same_file(fd, self.path):
                    os.unlink(self.path)
                if self.state != COMPLETE:
                    self._mark(fd, VOID, -1)
        except OSError as error:
            # Followers see the released lock, and a sweep finds the file.
            errorlog.line("warn", f'cache file "{self.path}" cannot be released: {error}', self.exchange)
        finally:
            # Explicit, because a duplicate of the descriptor would keep the lock.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def owns_path(self) -> bool:
        """Return True if `path` still names this file.

        An operator may have emptied the directory, and another fetch taken the name.
        """
        return same_file(self.fd, self.path)

    def read(self) -> bytes:
        """Return the whole file, for a store that keeps copies.

        It is read from the open file, because the path may name another file by now.
        """
        size = os.fstat(self.fd).st_size
        data = os.pread(self.fd, size, 0)
        if len(data) != size:
            raise OSError(errno.EIO, "the file of this fetch became shorter", self.path)
        return data

    def adopted(self) -> None:
        """Note that the store has renamed the file to a name of the store."""
        self.path = ""

    def copied(self) -> None:
        """Note that the store has a copy, and remove the file's name."""
        if self.owns_path():
            os.unlink(self.path)
        self.path = ""


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)


def join(directory: str, name: str) -> Fill | Follower:
    """Lead the fill of that name, or follow its leader. OSError if the directory cannot be written."""
    path = os.path.join(directory, name)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Follower(fd)
        except BaseException:
            os.close(fd)
            raise
        if _is_new(fd, path):
            return Fill(fd, path)
        os.close(fd)


def _is_new(fd: int, path: str) -> bool:
    """Return True if the locked file still has its name and is empty.

    The file of a dead leader is unlinked, not emptied: followers may still read it.
    """
    if not same_file(fd, path):
        return False
    if os.fstat(fd).st_size:
        os.unlink(path)
        return False
    return True


def private_fill(directory: str) -> Fill:
    """Return a fill that no other request can follow. OSError if the directory cannot be written."""
    path = os.path.join(directory, f"private.{os.getpid()}.{new_id():016x}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # Locked like a shared one, so that a sweep can tell it from the file of a dead process.
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Fill(fd, path)


def _is_whole(path: str) -> bool:
    """Return True if a fill has its head and the whole body, so that only its commit is missing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        block, entry = load(fd, whole=False)
        length = entry.announced if isinstance(entry, Entry) else None
        return block.state == COMPLETE or (length is not None and os.fstat(fd).st_size >= block.body_offset + length)
    except (BrokenEntry, OSError):
        return False
    finally:
        os.close(fd)


class FillDirectory:
    """The fills of `zone`, in the directory `path`."""

    __slots__ = ("_zone", "path")

    def __init__(self, path: str, zone: ZoneCache) -> None:
        self.path = path
        self._zone = zone
        self.make()

    def make(self) -> None:
        """Make the directory unless it exists."""
        os.makedirs(self.path, 0o700, exist_ok=True)

    def join(self, name: str, exchange: Exchange | None = None) -> Fill | Follower | None:
        """Lead or follow the fill of that name; None, and a line in the log, if the directory does not allow it."""
        try:
            joined = self._again(lambda: join(self.path, name))
        except OSError as error:
            self._zone.fault("lock", error, exchange)
            return None
        if isinstance(joined, Fill):
            joined.exchange = exchange
        return joined

    def private(self, exchange: Exchange | None = None) -> Fill | None:
        """Return a fill that no other request can follow; None, and a line in the log, if the directory does not allow it."""
        try:
            fill = self._again(lambda: private_fill(self.path))
        except OSError as error:
            self._zone.fault("store", error, exchange)
            return None
        fill.exchange = exchange
        return fill

    def _again(self, begin: Callable[[], _T]) -> _T:
        """Call `begin`, once more in a new directory if an operator has removed the cache's."""
        try:
            return begin()
        except FileNotFoundError:
            self._zone.renew()
            self.make()
            return begin()

    def wait_until_stored(self, name: str, committing: bool = False) -> bool:
        """Wait a moment for the end of the fill of that name; False if there was none.

        A response is stored right after its last byte was delivered, and the client that got that byte may ask again before it
        is. With `committing` the wait is longer for a response that has arrived whole.
        """
        path = os.path.join(self.path, name)
        patience = _COMMITTING if committing and _is_whole(path) else _STORING
        deadline, pause = time.monotonic() + patience, 0.0005
        existed = False
        while os.path.exists(path) and time.monotonic() < deadline:
            existed = True
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
        return existed

    def may_pass(self, name: str, follower: Follower, age: float, exchange: Exchange | None = None) -> bool:
        """Return True if this follower may ask the upstream itself (ngx_http_proxy_module, proxy_cache_lock_age).

        One follower may each time that the leader has got no response for `age` seconds.
        """
        try:
            with self._zone.share.lock(Share.slot_of(name)):
                if follower.grows_old_in(age) > 0:
                    return False
                follower.renew()
                return True
        except OSError as error:
            self._zone.fault("lock", error, exchange)
            return True

    def passes(self, name: str, now: float) -> bool:
        """Return True if the last response of that name could not be stored, as any worker found; waiting would gain nothing."""
        return now < self._zone.share.passed_until(name)

    def mark_pass(self, name: str, now: float) -> None:
        """Let requests of that name pass each other for ten seconds from `now`."""
        self._zone.share.let_pass(name, now + _PASS_FOR)
