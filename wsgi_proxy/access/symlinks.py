"""`disable_symlinks`: files are opened and examined without following symbolic links, or only those of the files' owners.

Rules:
- A path is opened part by part, relative to the directory before, so that no part can be exchanged between check and use.
- `on` follows no link. `if_not_owner` follows one whose owner also owns its target.
- The part of a path that `from=` names is not checked. A `from` that the path does not begin with has no effect.
- A refused link gives ELOOP, or ENOTDIR for a directory, as from the kernel.
Source: ngx_open_file_cache.c (ngx_open_file_wrapper), ngx_http_core_module.c (ngx_http_set_disable_symlinks).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import Exchange

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC


def open_file(exchange: Exchange, path: bytes) -> int:
    """Return a descriptor for reading a path under the rules of the exchange's location. Raises OSError."""
    mode = exchange.location.core.disable_symlinks
    start = -1 if mode == "off" else _trusted(exchange, path)
    if start < 0:
        return os.open(path, _READ)
    return _walk(path, start, mode == "if_not_owner")


def file_status(exchange: Exchange, path: bytes) -> os.stat_result:
    """Return the status of a path under the rules of the exchange's location. Raises OSError."""
    if exchange.location.core.disable_symlinks == "off":
        return os.stat(path)
    handle = open_file(exchange, path)
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def _trusted(exchange: Exchange, path: bytes) -> int:
    """Return the length of the part of a path that is not checked, without the slash behind it; -1 for the whole path."""
    begin = exchange.location.core.disable_symlinks_from
    if begin is None:
        return 0
    part = begin(exchange).encode("latin-1")
    if not part or not path.startswith(part):
        return 0
    if len(part) == len(path):
        return -1
    if path[len(part)] == 0x2F:
        return len(part)
    return len(part) - 1 if part.endswith(b"/") else 0


def _walk(path: bytes, start: int, owners: bool) -> int:
    """Open a path, its first `start` bytes in one step and the others part by part."""
    *directories, last = path[start:].split(b"/")
    base = path[:start] or (b"/" if path.startswith(b"/") else b".")
    here = os.open(base, _SEARCH)
    try:
        for name in directories:
            if name:
                there = _enter(here, name, _SEARCH, owners)
                os.close(here)
                here = there
        # A path with a slash at its end names a directory.
        return _enter(here, last, _READ, owners) if last else os.open(b".", _READ, dir_fd=here)
    finally:
        os.close(here)


def _enter(directory: int, name: bytes, flags: int, owners: bool) -> int:
    """Open one part of a path relative to a directory."""
    if not owners:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
    handle = os.open(name, flags, dir_fd=directory)
    try:
        if os.fstat(handle).st_uid != os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    except OSError:
        os.close(handle)
        raise
    return handle
