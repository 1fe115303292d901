"""Upkeep: periodic chores such as closing idle connections and keeping the cache within its bounds.

Rules:
- Each serving process has one thread for it (a greenlet if gevent has patched threads), started by the first request, or with the
  worker if names are resolved again.
- Each chore must be short or pause by itself. A failure is logged, and the chore runs again in the next round.
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
    """Chores that run once a second from the first `begin` on, until `stop`."""

    def __init__(self, chores: Iterable[Callable[[], None]]) -> None:
        self._chores = tuple(chores)
        self._stop = threading.Event()
        self.pid = 0
        """The id of the process it runs in, 0 while it does not run; a forked child starts it again."""

    def begin(self) -> None:
        """Start, unless it already runs in this process."""
        if self.pid != os.getpid():
            self.pid = os.getpid()
            self._stop = threading.Event()
            threading.Thread(target=self._run, args=(self._stop,), name="wsgi_proxy upkeep", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            self.round()

    def round(self) -> None:
        """Run every chore once."""
        for chore in self._chores:
            started = time.monotonic()
            try:
                chore()
            except Exception:  # a failing chore must not end the others; the log gets its traceback
                errorlog.logger.exception("a chore failed after %.1f s", time.monotonic() - started)

    def stop(self) -> None:
        """Stop after the current round."""
        self._stop.set()
        self.pid = 0
