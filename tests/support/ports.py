"""Free ports and waiting with a deadline.

Ports come from below the kernel's ephemeral range, so that no outgoing connection takes one between the moment it was
found free and the moment a server binds it. None is handed out twice in a process.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

_FIRST, _LAST = 20000, 32000
_handed_out: set[int] = set()
# Its own generator: a test that seeds the global one must not make two test processes draw the same ports.
_draw = random.SystemRandom()

#: Seconds after which a wait for something that must happen gives up. A busy machine never comes near it.
DEADLINE = 30.0

#: Where a server listens: a TCP port on 127.0.0.1, a host and port, or the path of a unix socket.
Address = int | tuple[str, int] | str | Path


def free_port() -> int:
    """A TCP port that is free on every local address at this moment."""
    for _ in range(1000):
        port = _draw.randrange(_FIRST, _LAST)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise RuntimeError("no free port found")


def free_ports(count: int) -> list[int]:
    """`count` different free TCP ports."""
    return [free_port() for _ in range(count)]


def wait_until(condition: Callable[[], object], what: str = "the condition", deadline: float = DEADLINE) -> None:
    """Poll `condition` until it is true; AssertionError naming `what` after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline} s in vain for {what}")
        time.sleep(0.01)


def unless_late(limit: float, attempt: Callable[[], None]) -> None:
    """Run an attempt that a timer of `limit` seconds in the tested program would spoil, and run it again if it took that long.

    A failure in less time than the timer's is raised at once; AssertionError when no run was fast enough.
    """
    for _ in range(10):
        began = time.monotonic()
        try:
            attempt()
            return
        except (AssertionError, OSError):
            if time.monotonic() - began < limit:
                raise
    raise AssertionError(f"no attempt took less than {limit} s")


def connect(address: Address, timeout: float = DEADLINE) -> socket.socket:
    """A connected stream socket; every later operation on it has the same timeout in seconds."""
    if isinstance(address, str | Path):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(str(address))
        except BaseException:
            sock.close()
            raise
        return sock
    if isinstance(address, int):
        address = ("127.0.0.1", address)
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def accepts(address: Address) -> bool:
    """Return True if `address` accepts connections now."""
    try:
        connect(address).close()
    except OSError:
        return False
    return True
