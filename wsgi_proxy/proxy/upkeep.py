"""What has to be done now and then beside the requests: idle connections closed, the cache kept within its bounds.

Rules:
- One thread (a greenlet where gevent has patched threads) in each process that serves, begun by its first request.
- Each chore must be short or pause by itself; one that fails is logged and tried again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from ..logs import errorlog

EVERY = 1.0
"""Seconds between two rounds."""


class Upkeep:
    """Runs chores once a second from the first `begin` on, until `stop`."""

    def __init__(self, chores: Iterable[Callable[[], None]]) -> None:
        self._chores = tuple(chores)
        self._stop = threading.Event()
        self.pid = 0
        """The process it runs in; a forked child begins anew."""

    def begin(self) -> None:
        """Start, unless it runs in this process already."""
        if self.pid != os.getpid():
            self.pid = os.getpid()
            self._stop = threading.Event()
            threading.Thread(target=self._run, args=(self._stop,), name="wsgi_proxy upkeep", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            self.round()

    def round(self) -> None:
        """Do every chore once."""
        for chore in self._chores:
            started = time.monotonic()
            try:
                chore()
            except Exception:  # a chore that fails must not end the others; its traceback is for the log
                errorlog.logger.exception("a chore failed after %.1f s", time.monotonic() - started)

    def stop(self) -> None:
        """End after the round under way."""
        self._stop.set()
        self.pid = 0
