"""Nameless files for bodies that are too large for memory.

Rules:
- They have no buffer of their own: what was written is in the file, or the write has failed.
- A folder that is missing is made, for an operator may empty what lies around it. What the disk refuses is our fault and not the
  client's: a 500, with a line in the log at nginx's level.
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


def open_file(folder: str, exchange: Exchange | None = None) -> IO[bytes]:
    """A new file in `folder` (the system's for ""), on behalf of `x`. ProxyError when it cannot be had."""
    try:
        try:
            return tempfile.TemporaryFile(buffering=0, dir=folder or None)
        except FileNotFoundError:
            os.makedirs(folder, 0o700, exist_ok=True)
            return tempfile.TemporaryFile(buffering=0, dir=folder)
    except OSError as error:
        raise _fault("open()", folder or tempfile.gettempdir(), error, exchange) from error


def write(file: IO[bytes], block: bytes, folder: str, exchange: Exchange | None = None) -> None:
    """Write all of `block`. ProxyError when there is no room."""
    try:
        written = file.write(block)
        while written < len(block):
            block = block[written:]
            written = file.write(block)
    except OSError as error:
        raise _fault("pwrite()", folder or tempfile.gettempdir(), error, exchange) from error


def make_folders(folders: Iterable[str], account: tuple[int, int] | None) -> None:
    """Make the folders that a configuration names, for the (uid, gid) that the workers run as; None for our own."""
    for folder in folders:
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            if account is not None and os.stat(folder).st_uid != account[0]:
                os.chown(folder, *account)
        except OSError as error:
            errorlog.line("error", f'mkdir() "{folder}" failed ({error.errno}: {error.strerror})')


def _fault(what: str, where: str, error: OSError, exchange: Exchange | None) -> ProxyError:
    message = f'{what} in "{where}" failed ({error.errno}: {error.strerror})'
    errorlog.line("crit", message, exchange)
    return ProxyError(message, status=500)
