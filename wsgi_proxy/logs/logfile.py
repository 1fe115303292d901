"""Log files: opened for appending, written a line at a time, opened again when they were moved away.

Rules:
- A line is one `write`, so that the lines of all processes stay whole. A file that is moved away is written on until `open` is
  called again; where that fails, the old file goes on.
- The main process opens the files that its workers write (`keep`): they go on with the descriptors that they inherit, in folders
  that their account may not enter too, and open a file by its name only when it was rotated.
- A file that the main process opens again is given to the workers' account, as nginx does it; but never by a link, nor one
  that has another name: the folder may be that account's, and it must get nothing but its log.
Source: nginx, ngx_init_cycle and ngx_reopen_files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_MODE = 0o644
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


class LogFile:
    """One file. The number of its descriptor stays the same when it is opened again, so that no writer can be caught between.

    Names are latin-1 text of the bytes on disk, as everything is that comes from a configuration or a request.
    """

    __slots__ = ("handle", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.handle = -1

    def open(self, account: int | None = None) -> None:
        """Open the file, again when it was open, and give it to the user `account`. OSError, ValueError for a name with NUL."""
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
        """Write, opening the file first if it is not open. Raises as `open`."""
        if self.handle < 0:
            self.open()
        os.write(self.handle, line)

    def close(self) -> None:
        """Close the file; a line that is written later opens it."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)


_kept: dict[str, LogFile] = {}


def keep(paths: Iterable[str]) -> None:
    """Hold these files open for the processes forked from now on, and no others. Those that cannot be opened are left to them."""
    wanted = set(paths)
    for path in [path for path in _kept if path not in wanted]:
        _kept.pop(path).close()
    for path in wanted - set(_kept):
        file = LogFile(path)
        try:
            file.open()
        except (OSError, ValueError):
            continue  # whoever writes to it says so
        _kept[path] = file


def reopen_kept(account: int | None) -> None:
    """Open the kept files by their names, for the user `account` (None: leave the owner); what fails is kept as it is."""
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
