"""One fetch for many who miss: who leads, who follows, and a body that several read while one writes it.

The file that a new entry is written to is also the lock and the meeting point, for all processes alike:

- whoever can flock a flight's file leads: asks the upstream, writes head and body as they come, and at the end has the
  file renamed into the store. A killed leader's lock is released by the kernel;
- everyone else follows: waits for the head, then reads the body as it grows from the same open file, which stays readable
  whatever becomes of its name;
- VOID in the superblock, or the lock released before COMPLETE, frees the followers: before they have sent anything they
  ask the upstream themselves, after that their answer ends in an error and never looks complete.

Waits are short sleeps that grow (a greenlet's sleep under gevent): nothing here blocks a process.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from .cacheentry import BrokenEntry, Entry, new_id
from .cachefile import COMPLETE, FILLING, SUPERBLOCK, VOID, Superblock
from .errors import TruncatedAnswer

_BLOCK: Final = 64 * 1024
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02
_LIVENESS_EVERY: Final = 0.1
# A byte of the superblock's padding, which its checksum leaves out: set by who follows, for the leader to see.
_FOLLOWED_AT: Final = SUPERBLOCK - 1
# A body that does not grow for so long will not: nginx's own default for an upstream that is silent.
_STALL: Final = 60.0


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
        self.state = FILLING
        _write_all(self.fd, self._superblock(-1) + head)

    def add(self, block: bytes) -> None:
        _write_all(self.fd, block)
        self.crc = zlib.crc32(block, self.crc)
        self.length += len(block)

    def finish(self) -> None:
        """All is written: mark the file COMPLETE. It still has to be adopted."""
        self.state = COMPLETE
        os.pwrite(self.fd, self._superblock(self.length), 0)

    @property
    def name(self) -> str:
        """The flight's name; "" for a fill that nobody else knows of."""
        name = os.path.basename(self.path)
        return "" if name.startswith("alone.") else name

    def followed(self) -> bool:
        """Whether anyone reads the body while it is written."""
        return os.pread(self.fd, 1, _FOLLOWED_AT) == b"\1"

    def _superblock(self, length: int) -> bytes:
        block = Superblock(self.state, self._head, SUPERBLOCK, self._offset, length, self.crc, self.id)
        return block.pack()

    @property
    def body_offset(self) -> int:
        return self._offset

    def release(self) -> None:
        """Let go, whatever state it is in: what was not adopted is void and its name is free. Safe to call again."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self.when_released is not None:
            self.when_released(not self.path)
        try:
            if self.path:
                self.state = VOID
                # Unlinked first: who comes now starts anew instead of following what is void.
                os.unlink(self.path)
                os.pwrite(fd, Superblock(VOID, b"", SUPERBLOCK, SUPERBLOCK, 0, 0, 0).pack(), 0)
        except FileNotFoundError:
            return
        finally:
            os.close(fd)

    def adopted(self) -> None:
        """The store has the file under a name of its own."""
        self.path = ""


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)


def board(folder: str, name: str) -> Fill | Following:
    """Lead the flight of that name, or follow who leads it. OSError if the folder cannot be written."""
    path = os.path.join(folder, name)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Following(fd)
        except BaseException:
            os.close(fd)
            raise
        if _is_new(fd, path):
            return Fill(fd, path)
        os.close(fd)


def _is_new(fd: int, path: str) -> bool:
    """Whether the locked file is still the flight's and empty. What a dead leader left is unlinked, not emptied: followers
    may still read it."""
    mine = os.fstat(fd)
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    if (mine.st_ino, mine.st_dev) != (named.st_ino, named.st_dev):
        return False
    if mine.st_size:
        os.unlink(path)
        return False
    return True


def alone(folder: str) -> Fill:
    """A file to fill that nobody else knows of: for fetches that do not lead a flight."""
    path = os.path.join(folder, f"alone.{os.getpid()}.{new_id():016x}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # Locked like a flight, so that a sweep can tell the living from what the dead left.
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Fill(fd, path)


class Following:
    """The other end of a flight: an open file that someone else fills."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, timeout: float) -> Superblock | None:
        """The superblock once there is a head; None when the leader gave up, died, or took longer than ``timeout``."""
        deadline = time.monotonic() + timeout
        pause, look = _FIRST_PAUSE, time.monotonic() + _LIVENESS_EVERY
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
                look = now + _LIVENESS_EVERY
            time.sleep(min(pause, deadline - now))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def superblock(self) -> Superblock | None:
        data = os.pread(self._fd, SUPERBLOCK, 0)
        try:
            return Superblock.unpack(data) if data else None
        except BrokenEntry:
            # Half a write seen; the next look will see the rest.
            return None

    def claimed(self) -> bool:
        """Whether nothing has come yet, not even that nothing will."""
        return os.fstat(self._fd).st_size == 0

    def grows_old_in(self, limit: float) -> float:
        """Seconds until the flight has been claimed for ``limit`` seconds (proxy_cache_lock_age)."""
        return os.fstat(self._fd).st_mtime + limit - time.time()

    def renew(self) -> None:
        """Begin the flight's age anew: one more request goes to the upstream, the others wait on."""
        os.utime(self._fd)

    def died(self) -> bool:
        """Whether the leader was killed rather than done."""
        block = self.superblock()
        return (block is None or block.state == FILLING) and self.leaderless()

    def leaderless(self) -> bool:
        """Whether nobody holds the flight's lock any more."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    def body(self, block: Superblock, length: int | None, start: int = 0) -> GrowingBody:
        """The body as it grows; hands over the file. ``length`` is what the head says, if it does."""
        fd, self._fd = self._fd, -1
        os.pwrite(fd, b"\1", _FOLLOWED_AT)
        return GrowingBody(fd, block.body_offset, length, start)

    @property
    def fd(self) -> int:
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class GrowingBody:
    """A body read from a file while another writes it. TruncatedAnswer if the writer gives up."""

    __slots__ = ("_at", "_end", "_following", "_offset")

    def __init__(self, fd: int, offset: int, length: int | None, start: int = 0) -> None:
        self._following = Following(fd)
        self._offset = offset
        self._at = offset + start
        self._end = None if length is None else offset + length

    def __iter__(self) -> Iterator[bytes]:
        pause, look, stalled = _FIRST_PAUSE, 0.0, 0.0
        while self._end is None or self._at < self._end:
            wanted = _BLOCK if self._end is None else min(_BLOCK, self._end - self._at)
            data = os.pread(self._following.fd, wanted, self._at)
            # Looked at after the data: a head appended behind a finished body is not part of it.
            self._note_end()
            if self._end is not None and self._at + len(data) > self._end:
                data = data[: self._end - self._at]
            if data:
                self._at += len(data)
                pause, look = _FIRST_PAUSE, 0.0
                yield data
                continue
            if self._end is not None and self._at >= self._end:
                return
            now = time.monotonic()
            if not look:
                look, stalled = now + _LIVENESS_EVERY, now + _STALL
            elif now >= look:
                look = now + _LIVENESS_EVERY
                self._check_leader(now >= stalled)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _check_leader(self, stalled: bool) -> None:
        if stalled:
            raise TruncatedAnswer(f"the fetch that this answer was read from did not go on for {_STALL:.0f} s")
        if self._following.leaderless():
            self._note_end()
            block = self._following.superblock()
            if block is None or block.state != COMPLETE:
                raise TruncatedAnswer("the fetch that this answer was read from was given up")

    def remainder(self, length: int) -> Iterator[bytes]:
        """What of the first ``length`` bytes was not given out yet, whatever the writer says; they must be there."""
        while self._at < self._offset + length:
            data = os.pread(self._following.fd, min(_BLOCK, self._offset + length - self._at), self._at)
            if not data:
                raise TruncatedAnswer("the file that this answer was read from became shorter")
            self._at += len(data)
            yield data

    def _note_end(self) -> None:
        block = self._following.superblock()
        if block is None or block.state == FILLING:
            return
        if block.state == VOID:
            raise TruncatedAnswer("the fetch that this answer was read from was given up")
        end = block.body_offset + block.body_length
        if self._end is not None and self._end != end:
            raise TruncatedAnswer("the fetch that this answer was read from ended early")
        self._end = end

    def close(self) -> None:
        self._following.close()
