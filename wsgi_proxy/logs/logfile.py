"""Log files: opened for appending, written a line at a time, and reopened after a rotation.

Rules:
- A line is one `write`, so that the lines of several processes are not interleaved. A renamed file is written to until `open` is
  called again. If that fails, the old file stays in use.
- The main process opens the files that its workers write to (`keep`). The workers inherit the descriptors, so their account needs
  no access to the directory, and they open a file by name only after a rotation.
- A file that the main process reopens is given to the workers' account, as nginx does. Symbolic links and files with several
  links are not: that account may own the directory, and must not gain any other file this way.
Source: nginx, ngx_init_cycle and ngx_reopen_files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_MODE: Final = 0o644
_STANDARD: Final = {"/dev/stdout": 1, "/dev/stderr": 2}


class LogFile:
    """One file. Reopening keeps the number of the descriptor, so that concurrent writers need no lock.

    `path` is the bytes on disk as latin-1 text, like all text from configurations and requests.
    """

    __slots__ = ("handle", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.handle = -1

    def open(self, account: int | None = None) -> None:
        """Open or reopen the file and give it to the user ID `account`. Raises OSError, or ValueError for a name with NUL."""
        kept = _kept.get(self.path)
        if self.handle < 0 and kept is not None and kept is not self:
            fresh = os.dup(kept.handle)
        else:
            fresh = _open(self.path, account)
        if self.handle < 0:
            self.handle = fresh
        else:
            os.dup2(fresh, self.handle, inheritable=False)
            os.close(fresh)

    def write(self, line: bytes) -> None:
        """Write `line`, opening the file first if necessary. Raises as `open` does."""
        if self.handle < 0:
            self.open()
        os.write(self.handle, line)

    def close(self) -> None:
        """Close the file. A later write reopens it."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)


_kept: Final[dict[str, LogFile]] = {}


def keep(paths: Iterable[str]) -> None:
    """Keep exactly these files open for later forks. A file that cannot be opened is left to the workers."""
    wanted = set(paths)
    for path in [path for path in _kept if path not in wanted]:
        _kept.pop(path).close()
    for path in wanted - set(_kept):
        file = LogFile(path)
        try:
            file.open()
        except (OSError, ValueError):
            continue  # the worker that writes to it logs the error
        _kept[path] = file


def reopen_kept(account: int | None) -> None:
    """Reopen the kept files by name for the user ID `account` (None: keep the owner). Files that fail stay as they are."""
    for file in _kept.values():
        try:
            file.open(account)
        except OSError:
            continue


def _open(path: str, account: int | None) -> int:
    standard = _STANDARD.get(path)
    if standard is not None:
        return os.dup(standard)
    name = path.encode("latin-1")
    handle = os.open(name, _FLAGS, _MODE)
    if account is None:
        return handle
    try:
        status = os.fstat(handle)
        own = os.lstat(name)
        plain = stat.S_ISREG(own.st_mode) and (own.st_dev, own.st_ino) == (status.st_dev, status.st_ino)
        if plain and status.st_nlink == 1 and status.st_uid != account:
            os.fchown(handle, account, -1)
    except OSError:
        os.close(handle)
        raise
    return handle
