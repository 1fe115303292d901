"""Static files: the choice of the file by `root` or `alias`, `index` and `try_files`. `static/response` makes the response.

Rules:
- Files answer GET and HEAD only. A directory's URI ends with a slash and gives its index or, if `autoindex` is on, its listing.
- No URI leaves the root: a `..` that the client brought into a path gives 404, whatever the configuration made of the URI.
Source: ngx_http_static_module, ngx_http_index_module, ngx_http_random_index_module, and ngx_http_core_module for `root`, `alias`
and `try_files`.
"""

from __future__ import annotations

import errno
import os
import random
import stat
from typing import TYPE_CHECKING

from ..access import file_status, open_file
from ..errors import ProxyError
from ..logs import errorlog
from ..response import FileBody, Parts, Response
from ..routing import page_response, redirect_within, slash_redirect
from ..variables import document_root, filename
from . import dav
from .autoindex import listing
from .precompressed import Compressed
from .response import file_response

if TYPE_CHECKING:
    from ..exchange import Exchange

_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.EMLINK})


def serve(exchange: Exchange) -> Response:
    """Return the response for the exchange's file, or the internal redirect to a directory's index."""
    if exchange.method not in ("GET", "HEAD", "POST"):
        if exchange.method in exchange.location.dav.methods:
            return dav.change(exchange, _path)
        return page_response(405)
    if exchange.uri[-1:] == "/":
        return _directory(exchange)
    path = _path(exchange)
    if path is None:
        return page_response(404)
    location = exchange.location
    if exchange.method == "POST" or location.gzip.static == location.brotli.static == "off":
        return _served(exchange, path)
    found = Compressed(exchange, path)
    return _served(exchange, path) if found.handle < 0 else _sent(exchange, found.handle, found.coding)


def _served(exchange: Exchange, path: bytes) -> Response:
    """Return the response for the file at a path."""
    try:
        handle = open_file(exchange, path)
    except OSError as error:
        return _failed(exchange, error, path)
    return _sent(exchange, handle)


def _sent(exchange: Exchange, handle: int, coding: str = "") -> Response:
    """Return the response for an open file, which is closed unless the body holds it."""
    try:
        status = os.fstat(handle)
        response = _opened(exchange, handle, status, coding)
    except BaseException:
        os.close(handle)
        raise
    if not isinstance(response.body, FileBody | Parts):
        os.close(handle)
    return response


def _opened(exchange: Exchange, handle: int, status: os.stat_result, coding: str) -> Response:
    if stat.S_ISDIR(status.st_mode):
        return slash_redirect(exchange, exchange.uri + "/")
    if not stat.S_ISREG(status.st_mode):
        errorlog.line("crit", f'"{filename(exchange)}" is not a regular file', exchange)
        return page_response(404)
    if exchange.method == "POST":
        return page_response(405)
    return file_response(exchange, handle, status, coding)


def _path(exchange: Exchange, suffix: str = "") -> bytes | None:
    """Return the path of the file for the URI with a suffix, as bytes; None if it is outside of the configured directory."""
    return _checked(exchange, filename(exchange) + suffix)


def _checked(exchange: Exchange, path: str) -> bytes | None:
    """Return a path as bytes; None if it is outside of the configured directory.

    Raises ProxyError (500) if the URI was rewritten in a location with `alias`, whose prefix it may not have any more.
    """
    core = exchange.location.core
    if core.alias is not None and exchange.rewritten_in_place:
        raise ProxyError(f'"alias" cannot be used in location "{exchange.location.pattern}" where URI was rewritten')
    if "\0" in path:
        return None
    if "/.." in path:
        # Only the constant text of the configuration may contain `..`.
        fixed = getattr(core.alias or core.root, "constant", None) is not None
        brought = path[len(document_root(exchange)) :] if fixed else path
        if ".." in brought.split("/"):
            errorlog.line("error", f'"{path}" leaves the root', exchange)
            return None
    return path.encode("latin-1")


def _failed(exchange: Exchange, error: OSError, path: bytes) -> Response:
    """Return the response for a file that cannot be opened, and log the reason."""
    code = 404 if error.errno in _MISSING else 403 if error.errno in _FORBIDDEN else 500
    if code != 404 or exchange.location.core.log_not_found:
        name = path.decode("latin-1")
        call = "open" if exchange.location.core.disable_symlinks == "off" else "openat"
        errorlog.line("error", f'{call}() "{name}" failed ({error.errno}: {error.strerror})', exchange)
    return page_response(code)


# --- directories ------------------------------------------------------------------------------------------------------------


def _directory(exchange: Exchange) -> Response:
    """Return the response for a URI that ends with a slash: the index, the listing, 403, or 404 for a missing directory."""
    core = exchange.location.core
    if core.random_index:
        chosen = _random_file(exchange)
        if chosen is not None:
            return chosen
    looked = False
    for template in core.index or (None,):
        name = "index.html" if template is None else template(exchange)
        if name[:1] == "/":
            return redirect_within(name, exchange.args)
        found = _path(exchange, name) if name else None
        if found is None:
            continue
        try:
            file_status(exchange, found)
        except OSError as error:
            if error.errno not in _MISSING:
                return _failed(exchange, error, found)
            if not looked:
                looked = True
                missing = _missing_directory(exchange)
                if missing is not None:
                    return missing
        else:
            return redirect_within(exchange.uri + name, exchange.args)
    missing = _missing_directory(exchange)
    if missing is not None:
        return missing
    path = filename(exchange).encode("latin-1")
    if core.autoindex and exchange.method in ("GET", "HEAD"):
        try:
            return listing(exchange, path)
        except OSError as error:
            return _failed(exchange, error, path)
    errorlog.line("error", f'directory index of "{path.decode("latin-1")}" is forbidden', exchange)
    return page_response(403)


def _random_file(exchange: Exchange) -> Response | None:
    """Return the internal redirect to a file of the directory, drawn by chance; None if it has none (ngx_http_random_index)."""
    path = _path(exchange)
    if path is None:
        return page_response(404)
    try:
        with os.scandir(path) as found:
            names = [entry.name for entry in found if not entry.name.startswith(b".") and entry.is_file()]
    except OSError as error:
        return _failed(exchange, error, path)
    if not names:
        return None
    return redirect_within(exchange.uri + random.choice(names).decode("latin-1"), exchange.args)


def _missing_directory(exchange: Exchange) -> Response | None:
    """Return the error response if the URI names no directory, None if it names one."""
    path = _path(exchange)
    if path is None:
        return page_response(404)
    try:
        mode = file_status(exchange, path).st_mode
    except OSError as error:
        return _failed(exchange, error, path)
    if stat.S_ISDIR(mode):
        return None
    # Only the `alias` of a regular expression can lead here: every other path ends with the URI's slash.
    raise ProxyError(f'"{path.decode("latin-1")}" is not a directory')


def try_files(exchange: Exchange) -> Response | None:
    """Follow the location's `try_files`.

    Return None if a candidate exists: `exchange.uri` is then its URI. Otherwise return the fallback: an internal redirect, or the
    page for a status.
    """
    *candidates, last = exchange.location.core.try_files
    core = exchange.location.core
    cut = core.alias_cut if core.alias is not None else 0
    prefix = exchange.uri[:cut] if cut > 0 else ""
    for candidate in candidates:
        assert not isinstance(candidate, int)
        uri = candidate(exchange)
        # A candidate that ends with a slash in the configuration means a directory; the slash is cut (ngx_http_core_try_files).
        wants_directory = candidate.text.endswith("/")  # type: ignore[attr-defined]
        if wants_directory:
            uri = uri[:-1]
        # `alias` replaces a prefix, which a candidate may have or lack. A constant one lacks it.
        fixed = candidate.constant is not None  # type: ignore[attr-defined]
        if prefix and not fixed and uri.startswith(prefix):
            uri = uri[cut:]
        path = _checked(exchange, document_root(exchange) + uri)
        if path is None:
            continue
        try:
            mode = file_status(exchange, path).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode) is wants_directory:
            if cut >= 0:
                exchange.uri = prefix + uri
            elif not wants_directory:
                exchange.uri, exchange.behind_alias = uri, True
            return None
    if isinstance(last, int):
        return page_response(last)
    uri, mark, args = last(exchange).partition("?")
    return redirect_within(uri, args if mark else None)
