"""Unnamed temporary files for bodies that are too large for memory.

Rules:
- The files are unbuffered: a write has reached the file, or it has failed.
- A missing directory is created, because an operator may clean up around it. A failure of the disk is a server error: 500, and a
  line in the log at nginx's level.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO, TYPE_CHECKING, Any, cast

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


class Named:
    """A file with a name for a body (`client_body_in_file_only`); `close` removes it if `keep` is False."""

    def __init__(self, directory: str, keep: bool) -> None:
        os.makedirs(directory or tempfile.gettempdir(), 0o700, exist_ok=True)
        handle, self.path = tempfile.mkstemp(prefix="wsgi_proxy-body-", dir=directory or None)
        os.fchmod(handle, 0o660)
        self._file = open(handle, "w+b", buffering=0)
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """Close the file; safe to call more than once."""
        if not self._file.closed:
            self._file.close()
            if not self._keep:
                try:
                    os.unlink(self.path)
                except FileNotFoundError:
                    return  # the application has moved it


def named_file(directory: str, keep: bool, exchange: Exchange) -> IO[bytes]:
    """Return a new file with a name, and note its path. Raises ProxyError (500) if that fails."""
    try:
        file = Named(directory, keep)
    except OSError as error:
        raise _fault("open()", directory or tempfile.gettempdir(), error, exchange) from error
    exchange.request_body_file = os.fsencode(file.path).decode("latin-1")
    return cast(IO[bytes], file)


def write(file: IO[bytes], block: bytes, directory: str, exchange: Exchange | None = None) -> None:
    """Write all of `block`. Raises ProxyError (500) if the disk is full."""
    try:
        written = file.write(block)
        while written < len(block):
            block = block[written:]
            written = file.write(block)
    except OSError as error:
        raise _fault("pwrite()", directory or tempfile.gettempdir(), error, exchange) from error


def _fault(what: str, where: str, error: OSError, exchange: Exchange | None) -> ProxyError:
    message = f'{what} in "{where}" failed ({error.errno}: {error.strerror})'
    errorlog.line("crit", message, exchange)
    return ProxyError(message, status=500)
