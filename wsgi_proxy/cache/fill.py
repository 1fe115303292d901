"""One fetch for many who miss: who leads, who follows, and a body that several read while one writes it.

The file that a new entry is written to is also the lock and the meeting point, for all processes alike:

- whoever can flock a flight's file leads: asks the upstream, writes head and body as they come, and at the end has the
  file renamed into the store. A killed leader's lock is released by the kernel;
- everyone else follows: waits for the head, then reads the body as it grows from the same open file, which stays readable
  whatever becomes of its name;
- COMPLETE in the superblock is the end of the body, whether or not the store takes the file afterwards;
- VOID, or the lock released before COMPLETE, frees the followers: before they have sent anything they ask the upstream
  themselves, after that as `cachegrowing` says;
- the lock belongs to the leader's open file description: a duplicate of the descriptor shares it, so everyone else opens the
  path again, and the leader unlocks explicitly when it lets go;
- a name is removed or adopted only while it still names the leader's own file.

Waits are short sleeps that grow (a greenlet's sleep under gevent): nothing here blocks a process.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
import zlib
from collections.abc import Callable
from typing import Final

from .growing_body import FIRST_PAUSE, LIVENESS_EVERY, LONGEST_PAUSE, Again, GrowingBody
from .storage import COMPLETE, FILLING, SUPERBLOCK, VOID, BrokenEntry, Entry, Superblock, new_id

logger = logging.getLogger("wsgi_proxy")

# A byte of the superblock's padding, which its checksum leaves out: set by who follows, for the leader to see.
_FOLLOWED_AT: Final = SUPERBLOCK - 1


class Fill:
    """An entry while it is written. `path` is where the file lies until the store adopts it."""

    __slots__ = ("_head", "_offset", "crc", "fd", "length", "path", "state", "id", "when_released")

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.length = 0
        self.crc = 0
        self.state = 0
        self.id = new_id()
        self.when_released: Callable[[bool], None] | None = None
        """Called once with whether the file was adopted: what else must be let go of."""
        self._head = b""
        self._offset = 0

    def begin(self, entry: Entry) -> None:
        """Write the head: from now on followers can send it."""
        self._head = head = entry.head()
        self._offset = SUPERBLOCK + len(head)
        _write_all(self.fd, self._superblock(FILLING, -1) + head)
        self.state = FILLING

    def add(self, block: bytes) -> None:
        _write_all(self.fd, block)
        self.crc = zlib.crc32(block, self.crc)
        self.length += len(block)

    def finish(self) -> None:
        """Mark the file COMPLETE: all is written. It still has to be adopted."""
        self._mark(self.fd, COMPLETE, self.length)

    def _mark(self, fd: int, state: int, length: int) -> None:
        os.pwrite(fd, self._superblock(state, length), 0)
        self.state = state

    @property
    def name(self) -> str:
        """The flight's name; "" for a fill that nobody else knows of."""
        name = os.path.basename(self.path)
        return "" if name.startswith("private.") else name

    def followed(self) -> bool:
        """Whether anyone reads the body while it is written."""
        return os.pread(self.fd, 1, _FOLLOWED_AT) == b"\1"

    def _superblock(self, state: int, length: int) -> bytes:
        block = Superblock(state, self._head, SUPERBLOCK, self._offset, length, self.crc, self.id)
        return block.pack()

    @property
    def body_offset(self) -> int:
        return self._offset

    def release(self) -> None:
        """Let go, whatever state it is in: a file that was not adopted loses its name, and is void unless it is complete. Safe
        to call again."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self.when_released is not None:
            self.when_released(not self.path)
        try:
            if self.path:
                # Unlinked first: the next request starts anew instead of following what is void.
                if same_file(fd, self.path):
                    os.unlink(self.path)
                if self.state != COMPLETE:
                    self._mark(fd, VOID, 0)
        except OSError as error:
            # Followers see the released lock, and a sweep finds the file.
            logger.warning('cache file "%s" cannot be released: %s', self.path, error)
        finally:
            # Not left to close(): a duplicate of the descriptor would keep the lock.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def owns_path(self) -> bool:
        """Whether `path` still names this file: an operator may have emptied the directory, and another fetch taken the name."""
        return same_file(self.fd, self.path)

    def read(self) -> bytes:
        """All of the file, for a store that keeps copies. From the open file: the path may name another by now."""
        size = os.fstat(self.fd).st_size
        data = os.pread(self.fd, size, 0)
        if len(data) != size:
            raise OSError(errno.EIO, "the file of this fetch became shorter", self.path)
        return data

    def adopted(self) -> None:
        """Note that the store has the file under a name of the store."""
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
    """Lead the flight of that name, or follow who leads it. OSError if the directory cannot be written."""
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
    """Whether the locked file is still the flight's and empty. What a dead leader left is unlinked, not emptied: followers
    may still read it."""
    if not same_file(fd, path):
        return False
    if os.fstat(fd).st_size:
        os.unlink(path)
        return False
    return True


def same_file(fd: int, path: str) -> bool:
    """Whether a path names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def private_fill(directory: str) -> Fill:
    """A file to fill that nobody else knows of: for fetches that do not lead a flight."""
    path = os.path.join(directory, f"private.{os.getpid()}.{new_id():016x}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # Locked like a flight, so that a sweep can tell the living from what the dead left.
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Fill(fd, path)


class Follower:
    """The other end of a flight: an open file that someone else fills."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, timeout: float) -> Superblock | None:
        """The superblock once there is a head; None when the leader gave up, died, or took longer than ``timeout``."""
        deadline = time.monotonic() + timeout
        pause, look = FIRST_PAUSE, time.monotonic() + LIVENESS_EVERY
        while True:
            block = self.superblock()
            if block is not None:
                return None if block.state == VOID else block
            now = time.monotonic()
            if now >= deadline:
                return None
            if now >= look:
                if self.leaderless():
                    return None
                look = now + LIVENESS_EVERY
            time.sleep(min(pause, deadline - now))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def superblock(self) -> Superblock | None:
        data = os.pread(self._fd, SUPERBLOCK, 0)
        try:
            return Superblock.unpack(data) if data else None
        except BrokenEntry:
            # Half a write seen; the next look will see the rest.
            return None

    def under_way(self) -> bool:
        """Whether the leader still waits for the upstream: it lives, and has written neither a head nor that there is none."""
        return self.superblock() is None and not self.leaderless()

    def grows_old_in(self, limit: float) -> float:
        """Seconds until the flight has been claimed for ``limit`` seconds (proxy_cache_lock_age)."""
        return os.fstat(self._fd).st_mtime + limit - time.time()

    def renew(self) -> None:
        """Begin the flight's age anew: one more request goes to the upstream, the others wait on."""
        os.utime(self._fd)

    def died(self) -> bool:
        """Whether the leader was killed rather than done. A leader that could not even write VOID (a full disk) has unlinked
        the file."""
        block = self.superblock()
        if block is None:
            return self.leaderless() and os.fstat(self._fd).st_nlink > 0
        return block.state == FILLING and self.leaderless()

    def leaderless(self) -> bool:
        """Whether the flight's lock is free."""
        try:
            # Shared, so that followers that look at the same moment do not take each other for the leader.
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    def body(
        self,
        block: Superblock,
        length: int | None,
        start: int = 0,
        end: int | None = None,
        *,
        again: Again | None = None,
        patience: float = 60.0,
    ) -> GrowingBody:
        """The body as it grows, or its bytes from `start` to `end`; hands over the file. `length` is what the head says, if it
        does."""
        fd, self._fd = self._fd, -1
        try:
            os.pwrite(fd, b"\1", _FOLLOWED_AT)
        except OSError as error:
            # A leader whose client leaves may then give up, as if there were no follower.
            logger.warning("a fetch cannot be told that it is followed: %s", error)
        return GrowingBody(Follower(fd), block.body_offset, length, start, end, again=again, patience=patience)

    @property
    def fd(self) -> int:
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
