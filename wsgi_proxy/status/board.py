"""The main process's notes for its workers: start, reloads and workers that died, in memory that forked children inherit.

Rules:
- Only the main process of `wsgi-proxy` writes. Under another server every number stays 0, and the figures leave them out.
- The numbers are 64-bit words in an anonymous shared mapping that is made when the module is imported, before any fork.
"""

from __future__ import annotations

import mmap
import time
from typing import Any, Final

_STARTED, _RELOADS, _FAILED, _RELOADED_AT, _RESULT, _DIED, _LENGTH = range(7)
_TEXT: Final = 128
_SIZE: Final = 4096


class Board:
    """The notes of one main process."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _SIZE)
        self._words = memoryview(self._map)[:_TEXT].cast("q")

    def start(self) -> None:
        """Note the start of the main process."""
        self._words[_STARTED] = int(time.time())

    def reloaded(self, failure: str = "") -> None:
        """Note the end of a reload; `failure` is empty for one that has succeeded."""
        words = self._words
        words[_FAILED if failure else _RELOADS] += 1
        words[_RELOADED_AT] = int(time.time())
        words[_RESULT] = 2 if failure else 1
        data = failure.encode("utf-8", "replace")[: _SIZE - _TEXT]
        self._map[_TEXT : _TEXT + len(data)] = data
        words[_LENGTH] = len(data)

    def died(self) -> None:
        """Note that a worker has ended although nothing asked it to."""
        self._words[_DIED] += 1

    def read(self) -> dict[str, Any] | None:
        """Return the notes as plain values; None under another server. Times are seconds since the epoch."""
        words = self._words
        if not words[_STARTED]:
            return None
        return {
            "started": words[_STARTED],
            "worker_deaths": words[_DIED],
            "reloads": words[_RELOADS],
            "reloads_failed": words[_FAILED],
            "last_reload": words[_RELOADED_AT] or None,
            "last_reload_ok": None if not words[_RESULT] else words[_RESULT] == 1,
            "last_reload_error": self._map[_TEXT : _TEXT + words[_LENGTH]].decode("utf-8", "replace"),
        }


BOARD: Final = Board()
"""The notes of this process's main process."""
