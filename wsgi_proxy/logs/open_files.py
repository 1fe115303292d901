"""`open_log_file_cache`: log files with variable names that stay open.

Rules:
- A file stays open from its `min_uses`-th line on. Fewer lines open and close it.
- At most `most` files are known. The one that was written to the longest ago makes room, and at the same time up to two that were
  not written to for `inactive` seconds.
- A file that has stayed open for `valid` seconds is compared with the file of its name, and opened again if that is another one.
Source: ngx_http_log_module, open_log_file_cache; ngx_open_file_cache.c.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .logfile import LogFile

if TYPE_CHECKING:
    from ..config import OpenLogFileCache

_EXPIRED_AT_ONCE: Final = 2


class _Known:
    """A known file: the number of its lines, and the times of the last one and of the last comparison."""

    __slots__ = ("checked", "file", "used", "uses")

    def __init__(self, path: str, now: float) -> None:
        self.file = LogFile(path)
        self.uses = 0
        self.used = now
        self.checked = now


class OpenFiles:
    """The open files of one `open_log_file_cache`. `clock` returns seconds. Not safe for threads."""

    def __init__(self, settings: OpenLogFileCache, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._files: OrderedDict[str, _Known] = OrderedDict()

    def write(self, path: str, line: bytes) -> None:
        """Append a line to the file of that path. Raises OSError, or ValueError for a name with NUL."""
        now, known = self._clock(), self._files.get(path)
        if known is None:
            known = _Known(path, now)
            known.file.open()
            self._make_room(now)
            self._files[path] = known
        else:
            self._files.move_to_end(path)
            if known.file.handle >= 0 and now - known.checked >= self._settings.valid and not _is_current(known.file):
                known.file.close()
        if known.file.handle < 0:
            try:
                known.file.open()
            except (OSError, ValueError):
                del self._files[path]
                raise
            known.checked = now
        known.uses += 1
        known.used = now
        known.file.write(line)
        if known.uses < self._settings.min_uses:
            known.file.close()

    def _make_room(self, now: float) -> None:
        if len(self._files) >= self._settings.most:
            self._files.popitem(last=False)[1].file.close()
        for _ in range(_EXPIRED_AT_ONCE):
            if not self._files or now - next(iter(self._files.values())).used <= self._settings.inactive:
                return
            self._files.popitem(last=False)[1].file.close()

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].file.close()


def _is_current(file: LogFile) -> bool:
    """Return True if the open file is still the one of its name."""
    opened = os.fstat(file.handle)
    try:
        named = os.stat(file.path.encode("latin-1"))
    except OSError:
        return False
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
