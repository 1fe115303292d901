"""Sending the body of an upstream's response to the client's stream, from socket to socket by splice(2) where it pays.

Rules:
- A body of known length on plain sockets is spliced from SPLICE_FROM bytes on; any other is sent in blocks.
- Only an empty pipe returns to the pool, because the rest of one transfer must not appear in another.
- On systems without splice (it is specific to Linux), `FLAGS` is 0 and no body is spliced.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import Final

from ..net import Stream
from .response_body import ReceivedBody

FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
PIPE_SIZE: Final = 1024 * 1024
_F_SETPIPE_SZ: Final = 1031
SPLICE_FROM: Final = 128 * 1024 if hasattr(os, "splice") else sys.maxsize
"""The remaining bytes from which splice pays for its three system calls."""


def takes_more(client: Stream, deadline: float | None) -> bool:
    """Wait until the client's socket is writable. Return False at `deadline`; raise TimeoutError after the write timeout."""
    if deadline is None:
        client.wait_writable()
        return True
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    timeout, client.write_timeout = client.write_timeout, left
    try:
        client.wait_writable()
        return True
    except TimeoutError:
        return False
    finally:
        client.write_timeout = timeout


_pipes: Final[list[tuple[int, int]]] = []
_MAX_PIPES: Final = 8


def take_pipe() -> tuple[int, int]:
    """Return an empty pipe as file descriptors (reader, writer)."""
    try:
        return _pipes.pop()
    except IndexError:
        reader, writer = os.pipe()
        try:
            fcntl.fcntl(writer, _F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            # The user's limit of pipe pages is reached. The default of 64 KiB only needs more calls.
            pass
        return reader, writer


def give_pipe(reader: int, writer: int, clean: bool) -> None:
    """Return a pipe to the pool if it is `clean`, else close it."""
    if clean and len(_pipes) < _MAX_PIPES:
        _pipes.append((reader, writer))
    else:
        os.close(reader)
        os.close(writer)


class Body(ReceivedBody):
    """The body of an upstream's response, which can be read or sent to a client's stream."""

    __slots__ = ()

    @property
    def spliceable(self) -> bool:
        """True for a long body of known length from a plain socket, which `send_to` moves by splice."""
        wire, left = self._wire, self._left
        if not FLAGS or wire is None or left is None:
            return False
        return left >= SPLICE_FROM and self._decoder is None and wire.stream.plain

    def send_to(self, client: Stream, patience: float | None = None) -> int:
        """Send the body to the client's stream. Return the bytes sent.

        With `patience`, in seconds, the method returns early if the client reads too slowly, and the rest can still be read here.
        An OSError is the client's; a failure of the upstream is a TruncatedResponse.
        """
        sent = 0
        if client.plain and client.write_timeout is not None:
            # A stream blocks until its timeout is in force.
            os.set_blocking(client.fileno(), False)
        while True:
            if self._pieces:
                sent += self._push(client, patience)
                if self._pieces:
                    return sent
            if self.done:
                return sent
            if client.plain and self.spliceable:
                sent += self._splice(client, patience)
            else:
                self._more()

    def _push(self, client: Stream, patience: float | None) -> int:
        """Send the blocks that have arrived. After `patience` seconds, the rest stays in `_pieces`."""
        pieces, self._pieces = self._pieces, []
        if patience is None or not client.plain:
            for piece in pieces:
                client.sendall(piece)
            return sum(map(len, pieces))
        sent = 0
        deadline = time.monotonic() + patience
        view = memoryview(b"".join(pieces))
        while view:
            try:
                count = os.write(client.fileno(), view)
            except BlockingIOError:
                if not takes_more(client, deadline):
                    self._pieces = [bytes(view)]
                    return sent
                continue
            sent += count
            view = view[count:]
        return sent

    def _splice(self, client: Stream, patience: float | None) -> int:
        """Move a body of known length from socket to socket through a pipe."""
        reader, writer = take_pipe()
        clean = False
        sent = 0
        try:
            while self._left and not self._pieces:
                count = self._fill(writer)
                deadline = None if patience is None else time.monotonic() + patience
                left = count
                while left:
                    try:
                        left -= os.splice(reader, client.fileno(), left, flags=FLAGS)
                    except BlockingIOError:
                        if not takes_more(client, deadline):
                            break
                sent += count - left
                while left:
                    piece = os.read(reader, left)
                    self._pieces.append(piece)
                    left -= len(piece)
                self._took(count)
            clean = True
        finally:
            give_pipe(reader, writer, clean)
        return sent

    def _fill(self, writer: int) -> int:
        """Move the bytes that have arrived, at least one, into the pipe."""
        wire = self._wire
        assert wire is not None and self._left is not None
        source = wire.stream
        source.breathe()
        while True:
            try:
                count = os.splice(source.fileno(), writer, min(self._left, PIPE_SIZE), flags=FLAGS)
            except BlockingIOError:
                try:
                    source.wait_readable()
                except OSError as error:
                    raise self._broken(error) from error
                continue
            except OSError as error:
                raise self._broken(error) from error
            if not count:
                raise self._cut()
            self.received += count
            return count
