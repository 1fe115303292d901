"""What moving bytes by the kernel needs: pipes kept for it, and a wait that knows patience.

Rules:
- A pipe is given back only when it is empty: what one transfer left in it must not come out of another.
- Where there is no splice (it is Linux's), `FLAGS` is 0 and nothing is moved so.
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
    """Wait until the client takes more; False when it does not before `deadline`. TimeoutError after its own timeout."""
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
    """An empty pipe: (reader, writer)."""
    try:
        return _pipes.pop()
    except IndexError:
        reader, writer = os.pipe()
        try:
            fcntl.fcntl(writer, _F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            # Over the user's share of pipe pages: the default 64 KB serve as well, only with more calls.
            pass
        return reader, writer


def give_pipe(reader: int, writer: int, clean: bool) -> None:
    """Give a pipe back; one that may still hold bytes is closed."""
    if clean and len(_pipes) < _MAX_PIPES:
        _pipes.append((reader, writer))
    else:
        os.close(reader)
        os.close(writer)
