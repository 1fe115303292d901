"""Reading an upstream's body ahead of a slow client (`proxy_buffering on`), so that the client does not hold the upstream.

Rules:
- A client that keeps up costs nothing: blocks pass on arrival, without a copy or a delay.
- If the client takes longer than `PATIENCE` for a block, a reader beside the request takes the rest of the body into memory (up
  to the size of `proxy_buffers`), then into an unnamed file (up to `proxy_max_temp_file_size`). When both are full, or the disk
  is, the reader waits for the client.
- When the reader has the whole body, the upstream's connection is released, even if the client is still reading.
- One watcher per process checks all bodies with a block at their client; it ends when there is none.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import IO, Protocol

from ..errors import ProxyError
from . import tempfiles

PATIENCE = 0.1
"""Seconds that a client may take for a block before its upstream is read ahead."""
_FILE_BLOCK = 64 * 1024


class Readable(Protocol):
    """A body: `read_block` returns the next block, b"" at the end; `next_at_hand` returns True if it would not wait."""

    def read_block(self) -> bytes: ...

    def next_at_hand(self) -> bool: ...

    def close(self) -> None: ...


class Spool:
    """Bytes between a reader and a slow client: in memory first, then in a file, at most `memory + file_max` of them."""

    def __init__(self, memory: int, file_max: int, directory: str) -> None:
        self._memory = memory
        self._file_max = file_max
        self._directory = directory
        self._blocks: deque[bytes] = deque()
        self._held = 0
        self._file: IO[bytes] | None = None
        self._read_at = self._write_at = 0
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, block: bytes) -> bool:
        """Add a block, waiting for space; return False if the spool was closed."""
        with self._changed:
            while True:
                while not self._closed and not self._fits(len(block)):
                    self._changed.wait()
                if self._closed:
                    return False
                if self._write_at == self._read_at and (self._held + len(block) <= self._memory or not self._file_max):
                    self._blocks.append(block)
                    self._held += len(block)
                    break
                if self._write(block):
                    break
                self._file_max = 0  # the file's blocks are still sent; later ones stay in memory
            self._changed.notify_all()
            return True

    def _write(self, block: bytes) -> bool:
        """Add a block to the file; return False on an error of the disk."""
        try:
            if self._file is None:
                self._file = tempfiles.open_file(self._directory)
            self._file.seek(self._write_at)
            tempfiles.write(self._file, block, self._directory)
        except ProxyError:
            return False  # tempfiles has logged it
        self._write_at += len(block)
        return True

    def _fits(self, size: int) -> bool:
        """Return True if there is space for a block. An empty spool takes a block of any size."""
        waiting = self._write_at - self._read_at
        if not waiting and self._held + size <= self._memory:
            return True
        return (not waiting and not self._held) or self._write_at + size <= self._file_max

    def end(self, error: BaseException | None = None) -> None:
        """End the body; the client's side reads the remaining blocks and then gets `error`, if there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def get(self) -> bytes:
        """Return the next block, b"" at the end. Raises the reader's error."""
        with self._changed:
            while not (self._blocks or self._write_at > self._read_at or self._ended):
                self._changed.wait()
            if self._blocks:
                block = self._blocks.popleft()
                self._held -= len(block)
            elif self._write_at > self._read_at:
                assert self._file is not None
                self._file.seek(self._read_at)
                block = self._file.read(min(_FILE_BLOCK, self._write_at - self._read_at))
                self._read_at += len(block)
                if self._read_at == self._write_at:
                    # The file starts over, so that its size stays that of the waiting bytes.
                    self._read_at = self._write_at = 0
                    self._file.truncate(0)
            elif self._error is not None:
                raise self._error
            else:
                block = b""
            self._changed.notify_all()
            return block

    def filled(self) -> bool:
        """Return True if `get` would not wait."""
        with self._changed:
            return bool(self._blocks) or self._write_at > self._read_at or self._ended

    def close(self) -> None:
        """Drop everything; a waiting reader stops."""
        with self._changed:
            self._closed = True
            self._blocks.clear()
            if self._file is not None:
                self._file.close()
                self._file = None
            self._read_at = self._write_at = 0
            self._changed.notify_all()


class ReadAhead:
    """An iterator over a body that reads ahead once the client is slow.

    `memory` and `file_max` are bytes; `directory` is that of the file ("" for the system's).
    """

    __slots__ = ("_body", "_file_max", "_directory", "_memory", "_out_since", "_spool", "_watched")

    def __init__(self, body: Readable, memory: int, file_max: int, directory: str = "") -> None:
        self._body = body
        self._memory = memory
        self._file_max = file_max
        self._directory = directory
        self._spool: Spool | None = None
        self._out_since = 0.0
        self._watched = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with _lock:
            # The client is back: a reader that has not begun must not begin now.
            self._out_since = 0.0
            spool = self._spool
        if spool is not None:
            block = spool.get()
        else:
            block = self._body.read_block()
            if block:
                if not self._watched:
                    self._watched = True
                    _watch(self)
                self._out_since = time.monotonic()
        if not block:
            self._forget()
            raise StopIteration
        return block

    def next_at_hand(self) -> bool:
        """Return True if the next block, or the end, can be had without waiting. Call it between two blocks."""
        with _lock:
            # The block that was out is back, and a reader must not begin while the body is looked at.
            self._out_since = 0.0
            spool = self._spool
        if spool is not None:
            return spool.filled()
        found = self._body.next_at_hand()
        if self._watched:
            self._out_since = time.monotonic()
        return found

    def begin(self) -> bool:
        """Start the reader for a slow client; return False if the client has come back in the meantime."""
        with _lock:
            if not self._out_since:
                return False
            self._spool = spool = Spool(self._memory, self._file_max, self._directory)
        threading.Thread(target=self._read, args=(spool,), daemon=True).start()
        return True

    def _read(self, spool: Spool) -> None:
        body = self._body
        try:
            while block := body.read_block():
                if not spool.put(block):
                    return
        except BaseException as error:  # raised on the client's side, where it truncates the response
            spool.end(error)
            return
        spool.end()

    def slow(self, now: float) -> bool:
        """Return True if the client has had its block for too long."""
        since = self._out_since
        return since > 0 and now - since >= PATIENCE

    def _forget(self) -> None:
        self._out_since = 0.0
        if self._watched:
            self._watched = False
            _watched.discard(self)

    def close(self) -> None:
        """Stop reading; the owner closes the body."""
        self._forget()
        if self._spool is not None:
            self._spool.close()


_watched: set[ReadAhead] = set()
_lock = threading.Lock()
_running = False


def _watch(body: ReadAhead) -> None:
    """Add a body to those that the watcher checks."""
    global _running
    with _lock:
        _watched.add(body)
        if _running:
            return
        _running = True
    threading.Thread(target=_watch_clients, daemon=True).start()


def _watch_clients() -> None:
    """Start readers for slow clients; end when no body is watched any more."""
    global _running
    while True:
        time.sleep(PATIENCE / 2)
        now = time.monotonic()
        for body in list(_watched):
            if body.slow(now) and body.begin():
                _watched.discard(body)
        with _lock:
            if not _watched:
                _running = False
                return
