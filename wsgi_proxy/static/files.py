"""Files: which one answers, by the location's `root` or `alias`, `index` and `try_files`; `static_answer` says how.

Rules:
- GET and HEAD only; a folder is asked for by its name with a slash, and shows its index or, where allowed, a listing.
- No URI leaves the root: `..` that a client's text brought into a path is a 404, whatever the configuration made of it.
Source: ngx_http_static_module, ngx_http_index_module, ngx_http_core_module (root, alias, try_files).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..exchange import Answer, FileBody
from ..logs import errorlog
from ..routing import page_answer, slash_redirect
from ..variables import document_root, filename
from .autoindex import listing
from .response import Parts, file_answer

if TYPE_CHECKING:
    from ..exchange import Exchange

_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.EMLINK})


def serve(x: Exchange) -> Answer | str:
    """The file of an exchange; or, where an index answers for a folder, the URI to redirect to within (arguments are kept)."""
    if x.method not in ("GET", "HEAD", "POST"):
        return page_answer(405)
    if x.uri[-1:] == "/":
        return _folder(x)
    path = _path(x)
    if path is None:
        return page_answer(404)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _failed(x, error, path)
    try:
        status = os.fstat(handle)
        answer = _opened(x, handle, status)
    except BaseException:
        os.close(handle)
        raise
    if not isinstance(answer.body, FileBody | Parts):
        os.close(handle)
    return answer


def _opened(x: Exchange, handle: int, status: os.stat_result) -> Answer:
    if stat.S_ISDIR(status.st_mode):
        return slash_redirect(x, x.uri + "/")
    if not stat.S_ISREG(status.st_mode):
        errorlog.line("crit", f'"{filename(x)}" is not a regular file', x)
        return page_answer(404)
    if x.method == "POST":
        return page_answer(405)
    return file_answer(x, handle, status)


def _path(x: Exchange, uri: str | None = None) -> bytes | None:
    """The path of the file for a URI, as bytes; None for one that leads out of where the configuration points."""
    path = filename(x, uri)
    if "\0" in path:
        return None
    if "/.." in path:
        # Only what stands in the configuration word for word may go upwards.
        core = x.location.core
        fixed = getattr(core.alias or core.root, "constant", None) is not None
        brought = path[len(document_root(x)) :] if fixed else path
        if ".." in brought.split("/"):
            errorlog.line("error", f'"{path}" leaves the root', x)
            return None
    return path.encode("latin-1")


def _failed(x: Exchange, error: OSError, path: bytes) -> Answer:
    """The answer for a file that cannot be opened, and its line in the log."""
    code = 404 if error.errno in _MISSING else 403 if error.errno in _FORBIDDEN else 500
    if code != 404 or x.location.core.log_not_found:
        name = path.decode("latin-1")
        errorlog.line("error", f'open() "{name}" failed ({error.errno}: {error.strerror})', x)
    return page_answer(code)


# --- folders ----------------------------------------------------------------------------------------------------------------


def _folder(x: Exchange) -> Answer | str:
    """A URI that ends with a slash: its index, its listing, or 403 (404 where there is no such folder)."""
    core = x.location.core
    looked = False
    for template in core.index or (None,):
        name = "index.html" if template is None else template(x)
        if name[:1] == "/":
            return name
        found = _path(x, x.uri + name) if name else None
        if found is None:
            continue
        try:
            os.stat(found)
        except OSError as error:
            if error.errno not in _MISSING:
                return _failed(x, error, found)
            if not looked:
                looked = True
                missing = _no_folder(x)
                if missing is not None:
                    return missing
        else:
            return x.uri + name
    missing = _no_folder(x)
    if missing is not None:
        return missing
    path = filename(x).encode("latin-1")
    if core.autoindex and x.method in ("GET", "HEAD"):
        try:
            return listing(x, path)
        except OSError as error:
            return _failed(x, error, path)
    errorlog.line("error", f'directory index of "{path.decode("latin-1")}" is forbidden', x)
    return page_answer(403)


def _no_folder(x: Exchange) -> Answer | None:
    """What to answer when the folder that the URI names is none; None when it is one."""
    path = _path(x)
    if path is None:
        return page_answer(404)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return _failed(x, error, path)
    return None if stat.S_ISDIR(mode) else page_answer(404)


def try_files(x: Exchange) -> str | int | None:
    """Follow the location's `try_files`.

    None: a candidate was found, `x.uri` is its URI and the location goes on; else the fallback: a URI with its query, `@name`, or
    a status.
    """
    *candidates, last = x.location.core.try_files
    core = x.location.core
    prefix = x.location.pattern if core.alias is not None and x.location.kind not in ("~", "~*") else ""
    for candidate in candidates:
        assert not isinstance(candidate, int)
        uri = candidate(x)
        # The configuration's own text asks for a folder by its slash, which is then left out (ngx_http_core_try_files).
        wants_folder = candidate.text.endswith("/")  # type: ignore[attr-defined]
        if wants_folder:
            uri = uri[:-1]
        # `alias` is put before what is left without the location's prefix; a candidate without variables never has it.
        fixed = candidate.constant is not None  # type: ignore[attr-defined]
        tried = uri if uri.startswith(prefix) and not (prefix and fixed) else prefix + uri
        path = _path(x, tried)
        if path is None:
            continue
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode) is wants_folder:
            x.uri = tried
            return None
    return last if isinstance(last, int) else last(x)
