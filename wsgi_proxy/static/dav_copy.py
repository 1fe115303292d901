"""WebDAV's COPY and MOVE (RFC 4918, sections 9.8 and 9.9; ngx_http_dav_module).

Rules:
- Both URIs name a collection, with a slash at the end, or neither does. With `alias` both are in its location.
- A collection is never written into itself, which nginx does not check. Symbolic links are neither followed nor copied.
- An existing destination is replaced unless Overwrite is F. A copy of a file appears whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING

from ..http import split_unsafe
from ..response import Response
from .dav_paths import INFINITY, PathOf, Refused, created, depth_of, directory_mode, fault, named_path, note, remove, status_of
from .store import make_directories, move

if TYPE_CHECKING:
    from ..exchange import Exchange


def copy_or_move(exchange: Exchange, path_of: PathOf) -> Response:
    """Carry out COPY or MOVE, and return its response. Raises Refused."""
    target_uri = _destination(exchange)
    if exchange.uri.endswith("/") != target_uri.endswith("/"):
        raise Refused(
            409, f'both URI "{exchange.uri}" and "Destination" URI "{target_uri}" should be either collections or non-collections'
        )
    depth = depth_of(exchange, INFINITY)
    if depth != INFINITY and (depth or exchange.method == "MOVE"):
        raise Refused(
            400, '"Depth" header must be infinity' if exchange.method == "MOVE" else '"Depth" header must be 0 or infinity'
        )
    overwrite = exchange.environ.get("HTTP_OVERWRITE", "T").upper()
    if overwrite not in ("T", "F"):
        raise Refused(400, f'client sent invalid "Overwrite" header: "{overwrite}"')
    source = named_path(exchange, path_of)
    target = _target_path(exchange, target_uri, path_of)
    slash = target.endswith(b"/")
    target = target.rstrip(b"/")
    try:
        there: os.stat_result | None = os.lstat(target)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise fault(error, "lstat()", target) from error
        there = None
    if there is not None:
        if stat.S_ISDIR(there.st_mode) and not slash:
            raise Refused(409, f'"{exchange.uri}" could not be written to the collection "{target_uri}"')
        if overwrite == "F":
            raise Refused(412, f'"{target.decode("latin-1")}" exists')
    found = status_of(source)
    if stat.S_ISDIR(found.st_mode):
        return _tree(exchange, source, target, there)
    if source == target:
        raise Refused(403, "the source and the destination are the same")
    return _file(exchange, source, target, found)


def _destination(exchange: Exchange) -> str:
    """Return the decoded URI of the field Destination (RFC 4918, section 10.3), which may name this host."""
    text = exchange.environ.get("HTTP_DESTINATION")
    if text is None:
        raise Refused(400, 'client sent no "Destination" header')
    invalid = Refused(400, f'client sent invalid "Destination" header: "{text}"')
    if text.startswith("/"):
        path = text
    else:
        begin = f"{exchange.scheme}://"
        if not text.startswith(begin):
            raise invalid
        authority, slash, path = text[len(begin) :].partition("/")
        if authority.rpartition(":")[0] != exchange.host and authority != exchange.host:
            raise Refused(400, f'"Destination" URI "{text}" is handled by different repository than the source URI')
        if not slash:
            raise invalid
        path = "/" + path
    decoded = split_unsafe(path)
    if decoded is None:
        raise invalid
    return decoded[0]


def _target_path(exchange: Exchange, uri: str, path_of: PathOf) -> bytes:
    """Return the path for the destination, in the same location."""
    cut = exchange.location.core.alias_cut
    if exchange.location.core.alias is not None and (cut < 0 or uri[:cut] != exchange.uri[:cut]):
        raise Refused(400, f'"Destination" URI "{uri}" is not in the location "{exchange.location.pattern}"')
    own, exchange.uri = exchange.uri, uri
    try:
        return named_path(exchange, path_of)
    finally:
        exchange.uri = own


def _file(exchange: Exchange, source: bytes, target: bytes, found: os.stat_result) -> Response:
    if exchange.method == "MOVE":
        try:
            mode = directory_mode(exchange.location.dav.access)
            make_directories(os.fsdecode(os.path.dirname(target)), mode)
            move(source, target)
        except OSError as error:
            raise fault(error, "rename()", source, 500) from error
        return Response(204)
    try:
        _copy_file(source, target, found)
    except OSError as error:
        raise fault(error, "copy", source, 500) from error
    return Response(204)


def _copy_file(source: bytes, target: bytes, found: os.stat_result) -> None:
    """Copy a file with its permissions and times."""
    handle, near = tempfile.mkstemp(prefix=b".wsgi_proxy-copy-", dir=os.path.dirname(target))
    os.close(handle)
    try:
        shutil.copyfile(source, near, follow_symlinks=False)
        os.chmod(near, stat.S_IMODE(found.st_mode) & 0o777)
        os.utime(near, (found.st_atime, found.st_mtime))
        os.replace(near, target)
    except OSError:
        os.unlink(near)
        raise


def _tree(exchange: Exchange, source: bytes, target: bytes, there: os.stat_result | None) -> Response:
    if not exchange.uri.endswith("/"):
        raise Refused(400, f'"{exchange.uri}" is collection')
    source = source.rstrip(b"/")
    if (target + b"/").startswith(source + b"/") or (there is not None and (source + b"/").startswith(target + b"/")):
        raise Refused(403, "a collection cannot be written into itself")
    if there is not None:
        remove(exchange, target, stat.S_ISDIR(there.st_mode))
    if exchange.method == "MOVE":
        try:
            os.rename(source, target)
            return created(exchange, False)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise fault(error, "rename()", source) from error
    try:
        os.mkdir(target, stat.S_IMODE(status_of(source).st_mode) & 0o777)
    except OSError as error:
        raise fault(error, "mkdir()", target) from error
    _copy_tree(exchange, source, target)
    if exchange.method == "MOVE":
        remove(exchange, source, True)
    return created(exchange, False)


def _copy_tree(exchange: Exchange, source: bytes, target: bytes) -> None:
    """Copy the content of a directory. Failures are logged."""
    with os.scandir(source) as entries:
        for entry in list(entries):
            to = os.path.join(target, entry.name)
            try:
                found = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(to, stat.S_IMODE(found.st_mode) & 0o777)
                    _copy_tree(exchange, entry.path, to)
                    os.utime(to, (found.st_atime, found.st_mtime))
                elif entry.is_file(follow_symlinks=False):
                    _copy_file(entry.path, to, found)
            except OSError as error:
                note(exchange, "copy", entry.path, error)
