"""Unnamed temporary files for bodies that are too large for memory.

Rules:
- The files are unbuffered: a write has reached the file, or it has failed.
- A missing directory is created, because an operator may clean up around it. A failure of the disk is a server error: 500, and a
  line in the log at nginx's level.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from ..errors import ProxyError
from ..logs import errorlog

if TYPE_CHECKING:
    from ..exchange import Exchange


def open_file(directory: str, exchange: Exchange | None = None) -> IO[bytes]:
    """Return a new file in a directory ("" for the system's), for a request. Raises ProxyError (500) if that fails."""
    try:
        try:
            return tempfile.TemporaryFile(buffering=0, dir=directory or None)
        except FileNotFoundError:
            os.makedirs(directory, 0o700, exist_ok=True)
            return tempfile.TemporaryFile(buffering=0, dir=directory)
    except OSError as error:
        raise _fault("open()", directory or tempfile.gettempdir(), error, exchange) from error


def write(file: IO[bytes], block: bytes, directory: str, exchange: Exchange | None = None) -> None:
    """Write all of `block`. Raises ProxyError (500) if the disk is full."""
    try:
        written = file.write(block)
        while written < len(block):
            block = block[written:]
            written = file.write(block)
    except OSError as error:
        raise _fault("pwrite()", directory or tempfile.gettempdir(), error, exchange) from error


def make_directories(directories: Iterable[str], account: tuple[int, int] | None) -> None:
    """Create the directories of a configuration for the (uid, gid) of the workers; None for the account of this process."""
    for directory in directories:
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            if account is not None and os.stat(directory).st_uid != account[0]:
                os.chown(directory, *account)
        except OSError as error:
            errorlog.line("error", f'mkdir() "{directory}" failed ({error.errno}: {error.strerror})')


def _fault(what: str, where: str, error: OSError, exchange: Exchange | None) -> ProxyError:
    message = f'{what} in "{where}" failed ({error.errno}: {error.strerror})'
    errorlog.line("crit", message, exchange)
    return ProxyError(message, status=500)
