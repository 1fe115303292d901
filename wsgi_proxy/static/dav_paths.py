"""The parts that WebDAV's methods share: refusals, the field Depth, and the removal of files and trees.

Rules:
- A failed call becomes a refusal whose status depends on the kind of failure, as in nginx (ngx_http_dav_error).
- A failure in a part of a tree is logged, and the rest is done, as in nginx, which has no 207 either.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..http import escape
from ..logs import errorlog
from ..response import Response

if TYPE_CHECKING:
    from ..exchange import Exchange

PathOf = Callable[["Exchange"], bytes | None]

INFINITY = -1
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_STATUS = {errno.EACCES: 403, errno.EPERM: 403, errno.EEXIST: 405, errno.ENOSPC: 507}


class Refused(Exception):
    """The end of a request with a status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def named_path(exchange: Exchange, path_of: PathOf) -> bytes:
    """Return the path for the URI. Raises Refused (404) if it leaves the root."""
    path = path_of(exchange)
    if path is None:
        raise Refused(404, f'"{exchange.uri}" leaves the root')
    return path


def fault(error: OSError, what: str, path: bytes, missing: int = 404) -> Refused:
    """Return the refusal for a failed call; `missing` is the status if a part of the path does not exist."""
    status = missing if error.errno in _MISSING else _STATUS.get(error.errno or 0, 500)
    return Refused(status, f'{what} "{path.decode("latin-1")}" failed ({error.errno}: {error.strerror})')


def created(exchange: Exchange, named: bool) -> Response:
    """Return 201. `named` adds a Location with the URI."""
    fields = [("Location", escape(exchange.uri))] if named else []
    return Response(201, [*fields, ("Content-Length", "0")], length=0)


def directory_mode(access: int) -> int:
    """Return the permissions of a directory for those of files: an execute bit for each read bit."""
    return access | (access & 0o444) >> 2


def status_of(path: bytes) -> os.stat_result:
    """Return the status of a file, of the link itself for a symbolic link. Raises Refused."""
    try:
        return os.lstat(path)
    except OSError as error:
        raise fault(error, "lstat()", path) from error


def remove(exchange: Exchange, path: bytes, directory: bool) -> None:
    """Remove a file, or a directory with its content."""
    try:
        if directory:
            shutil.rmtree(path, onerror=lambda call, name, info: note(exchange, "unlink()", name, info[1]))
            if os.path.lexists(path):
                os.rmdir(path)
        else:
            os.unlink(path)
    except OSError as error:
        raise fault(error, "unlink()", path) from error


def note(exchange: Exchange, call: str, path: bytes | str, error: BaseException) -> None:
    """Log the failure for a part of a tree."""
    errorlog.line("error", f'{call} "{os.fsencode(path).decode("latin-1")}" failed: {error}', exchange)


def depth_of(exchange: Exchange, missing: int) -> int:
    """Return the field Depth (RFC 4918, section 10.2): 0, 1 or INFINITY; `missing` without the field."""
    text = exchange.environ.get("HTTP_DEPTH")
    if text is None:
        return missing
    found = {"0": 0, "1": 1, "infinity": INFINITY}.get(text)
    if found is None:
        raise Refused(400, f'client sent invalid "Depth" header: "{text}"')
    return found
