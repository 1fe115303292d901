"""Helpers for splice(2): a pool of pipes, and a wait with a deadline.

Rules:
- Only an empty pipe returns to the pool, because the rest of one transfer must not appear in another.
- On systems without splice (it is specific to Linux), `FLAGS` is 0 and no body is spliced.
"""

from __future__ import annotations

import fcntl
import os
import time

from ..net import Stream

FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
PIPE_SIZE = 1024 * 1024
_F_SETPIPE_SZ = 1031


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


_pipes: list[tuple[int, int]] = []
_MAX_PIPES = 8


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
