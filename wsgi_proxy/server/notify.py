"""The messages to the service manager (sd_notify(3)), and the sockets that it passes (sd_listen_fds(3)).

Rules:
- The address of the service manager is taken from the environment at the start, so that gunicorn and the workers send nothing.
- The server is ready when all its workers serve, at the start and after a reload.
- A message that cannot be sent is ignored: the service manager applies its own timeout.
"""

from __future__ import annotations

import os
import socket
import time

_FIRST = 3
"""The first descriptor that is passed."""


class ServiceManager:
    """The connection to the service manager that started this process; without one the methods do nothing."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        self._ready = False

    def ready(self, workers: int) -> None:
        """Report that all workers serve. A second call before `reloading` does nothing."""
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={workers} workers serve")

    @property
    def waits(self) -> bool:
        """True if the service manager waits for `ready`."""
        return bool(self._address) and not self._ready

    def reloading(self) -> None:
        """Report the begin of a reload; its end is reported by `ready`."""
        self._ready = False
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report the begin of the shutdown."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(state.encode(), address)
            except OSError:
                return


def passed_descriptors() -> list[int]:
    """Return the listening sockets that the service manager passed to this process, once."""
    number, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not number.isdigit() or pid != str(os.getpid()):
        return []
    return list(range(_FIRST, _FIRST + int(number)))
