"""Methods of WebDAV that change files (ngx_http_dav_module): PUT, DELETE, MKCOL, COPY and MOVE.

Rules:
- A file appears whole: it is written under another name and moved into place.
- A URI names a collection if it ends with a slash.
- Nothing outside of the location's `root` or `alias` is changed.
Source: ngx_http_dav_module, by behaviour; RFC 4918, sections 9 and 10.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from typing import TYPE_CHECKING

from ..errors import ClientError, ProxyError
from ..http import parse_date
from ..logs import errorlog
from ..response import Response
from ..routing import page_response
from .dav_copy import copy_or_move
from .dav_paths import INFINITY, PathOf, Refused, created, depth_of, directory_mode, fault, named_path, remove
from .store import make_directories, move

if TYPE_CHECKING:
    from ..exchange import Exchange

_BLOCK = 64 * 1024


def change(exchange: Exchange, path_of: PathOf) -> Response:
    """Carry out one of the methods, and return its response. `path_of` returns the path for the URI of an exchange, or None."""
    action = {"PUT": _put, "DELETE": _delete, "MKCOL": _make_collection}.get(exchange.method, copy_or_move)
    try:
        if exchange.method != "PUT" and (exchange.chunked or exchange.content_length):
            raise Refused(415, f"{exchange.method} with body is unsupported")
        return action(exchange, path_of)
    except Refused as refused:
        errorlog.line("error", str(refused), exchange)
        return page_response(refused.status)


# --- PUT, MKCOL -------------------------------------------------------------------------------------------------------------


def _put(exchange: Exchange, path_of: PathOf) -> Response:
    if exchange.uri.endswith("/"):
        raise Refused(409, "cannot PUT to a collection")
    if "HTTP_CONTENT_RANGE" in exchange.environ:
        raise Refused(501, "PUT with range is unsupported")
    path = named_path(exchange, path_of)
    settings = exchange.location.dav
    copy = _received(exchange)
    try:
        exists = os.path.exists(path)
        if os.path.isdir(path):
            raise Refused(409, f'"{path.decode("latin-1")}" could not be created: it is a directory')
        os.chmod(copy, settings.access)
        date = parse_date(exchange.environ.get("HTTP_DATE", ""), time.time())
        if date is not None:
            os.utime(copy, (time.time(), date))
        if settings.create_full_put_path:
            make_directories(os.fsdecode(os.path.dirname(path)), directory_mode(settings.access))
        move(copy, path)
    except OSError as error:
        raise fault(error, "rename()", path, 500) from error
    finally:
        if os.path.lexists(copy):
            os.unlink(copy)
    return Response(204) if exists else created(exchange, True)


def _received(exchange: Exchange) -> str:
    """Write the request's body to a temporary file, and return the file's path."""
    folder = exchange.location.core.client_body_temp_path
    try:
        if folder:
            os.makedirs(folder, 0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="wsgi_proxy-put-", dir=folder or None)
    except OSError as error:
        raise fault(error, "open()", os.fsencode(folder), 500) from error
    left = exchange.content_length
    try:
        with open(handle, "wb") as file:
            while left is None or left:
                if left is None and not exchange.chunked:
                    break
                block = exchange.input.read(_BLOCK if left is None else min(left, _BLOCK))
                if not block:
                    break
                file.write(block)
                if left is not None:
                    left -= len(block)
        if left:
            raise ClientError("client sent less of the request's body than its Content-Length")
    except (OSError, ProxyError) as error:
        os.unlink(name)
        if isinstance(error, ProxyError):
            raise
        raise fault(error, "write()", os.fsencode(name), 500) from error
    return name


def _make_collection(exchange: Exchange, path_of: PathOf) -> Response:
    if not exchange.uri.endswith("/"):
        raise Refused(409, "MKCOL can create a collection only")
    path = named_path(exchange, path_of)
    try:
        os.mkdir(path.rstrip(b"/") or b"/", directory_mode(exchange.location.dav.access))
    except OSError as error:
        raise fault(error, "mkdir()", path, 409) from error
    return created(exchange, True)


# --- DELETE -----------------------------------------------------------------------------------------------------------------


def _delete(exchange: Exchange, path_of: PathOf) -> Response:
    uri = exchange.uri
    least = exchange.location.dav.min_delete_depth
    depth = uri.rstrip("/").count("/") if uri.endswith("/") else uri.count("/")
    if depth < least:
        raise Refused(409, f"insufficient URI depth:{depth} to DELETE")
    path = named_path(exchange, path_of)
    try:
        found = os.lstat(path)
    except OSError as error:
        raise fault(error, "lstat()", path, 409 if error.errno == errno.ENOTDIR else 404) from error
    if not stat.S_ISDIR(found.st_mode):
        if depth_of(exchange, 0) not in (0, INFINITY):
            raise Refused(400, '"Depth" header must be 0 or infinity')
        remove(exchange, path, False)
        return Response(204)
    if not uri.endswith("/"):
        raise Refused(409, f'DELETE "{path.decode("latin-1")}" failed: it is a directory')
    if depth_of(exchange, INFINITY) != INFINITY:
        raise Refused(400, '"Depth" header must be infinity')
    remove(exchange, path.rstrip(b"/"), True)
    return Response(204)
