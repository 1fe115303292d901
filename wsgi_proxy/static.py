"""Files: the location's `root` or `alias`, `index`, `try_files`, ranges and conditions, with Werkzeug's parsers.

Rules:
- GET and HEAD only; a folder is asked for by its name with a slash, and shows its index or, where allowed, a listing.
- ETag and Last-Modified are nginx's (`"mtime-size"`, hexadecimal), so that servers side by side agree; conditions are tested in
  nginx's way: all that are present must hold (ngx_http_not_modified_filter_module).
- No URI leaves the root: `..` that a client's text brought into a path is a 404, whatever the configuration made of it.
- The open file itself is answered, so that the worker can send it without copying it.
Source: ngx_http_static_module, ngx_http_index_module, ngx_http_range_filter_module; RFC 9110, 13 and 14.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from datetime import timezone
from typing import TYPE_CHECKING, Any

from werkzeug.http import http_date, parse_date, parse_etags

from . import errorlog, pages
from .autoindex import listing
from .exchange import Answer, FileBody
from .ranges import NOT_SATISFIABLE, parse_ranges
from .redirects import content_type, page_answer, slash_redirect
from .variable_table import document_root, filename

if TYPE_CHECKING:
    from .exchange import Exchange, Pairs

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
    if not isinstance(answer.body, FileBody | _Parts):
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


# --- the answer -------------------------------------------------------------------------------------------------------------


def file_answer(x: Exchange, handle: int, status: os.stat_result) -> Answer:
    """The answer for an open regular file: whole, a part, or what the request's conditions make of it."""
    core = x.location.core
    modified = int(status.st_mtime)
    size = status.st_size
    etag = f'"{modified:x}-{size:x}"' if core.etag else ""
    environ = x.environ
    get = environ.get
    validators: Pairs = [("Last-Modified", http_date(modified))]
    if etag:
        validators.append(("ETag", etag))
    condition = _condition(get, modified, etag, core.if_modified_since)
    if condition == 412:
        return page_answer(412)
    if condition == 304:
        return Answer(304, validators)
    kind = content_type(x.uri, core)
    ranges: list[tuple[int, int]] | int | None = None
    wanted = get("HTTP_RANGE")
    limit = x.location.guard.max_ranges
    if wanted is not None and limit != 0 and _if_range_holds(get("HTTP_IF_RANGE"), modified, etag):
        ranges = parse_ranges(wanted, size, limit)
    if ranges == NOT_SATISFIABLE:
        return _not_satisfiable(x, size)
    if isinstance(ranges, list):
        return _partial(x, handle, size, kind, validators, ranges)
    fields = [("Content-Type", kind)] if kind else []
    fields += [("Content-Length", str(size)), *validators]
    if limit != 0:
        fields.append(("Accept-Ranges", "bytes"))
    answer = Answer(200, fields, length=size)
    if size and x.method != "HEAD":
        answer.body = FileBody(open(handle, "rb", buffering=0), 0, size)
    return answer


def _condition(get: Any, modified: int, etag: str, mode: str) -> int:
    """412 or 304 where the request's conditions ask for it, else 0."""
    since = get("HTTP_IF_UNMODIFIED_SINCE")
    if since is not None:
        given = _seconds(since)
        if given is None or given < modified:
            return 412
    match = get("HTTP_IF_MATCH")
    if match is not None:
        tags = parse_etags(match)
        if not (tags.star_tag or (_quotes(match, etag) and tags.is_strong(etag[1:-1]))):
            return 412
    since, none_match = get("HTTP_IF_MODIFIED_SINCE"), get("HTTP_IF_NONE_MATCH")
    if since is None and none_match is None:
        return 0
    if since is not None:
        given = _seconds(since) if mode != "off" else None
        if given is None or (given != modified and (mode == "exact" or given < modified)):
            return 0
    if none_match is not None:
        tags = parse_etags(none_match)
        if not (tags.star_tag or (_quotes(none_match, etag) and tags.contains_weak(etag[1:-1]))):
            return 0
    return 304


def _quotes(field: str, etag: str) -> bool:
    """Whether the tag is there with its quotes, without which it is none (Werkzeug reads it all the same)."""
    return bool(etag) and etag in field


def _seconds(text: str) -> int | None:
    found = parse_date(text)
    return None if found is None else int(found.replace(tzinfo=found.tzinfo or timezone.utc).timestamp())


def _if_range_holds(value: str | None, modified: int, etag: str) -> bool:
    """`If-Range`: the same entity, by a strong tag or the exact date (RFC 9110, 13.1.5)."""
    if value is None:
        return True
    if value.endswith('"'):
        return bool(etag) and value == etag
    return _seconds(value) == modified


def _not_satisfiable(x: Exchange, size: int) -> Answer:
    body = pages.page(416, pages.product(x.location.core))
    fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body))), ("Content-Range", f"bytes */{size}")]
    return Answer(416, fields, (body,) if x.method != "HEAD" else (), length=len(body))


# --- parts ------------------------------------------------------------------------------------------------------------------


def _partial(
    x: Exchange, handle: int, size: int, kind: str, validators: Pairs, ranges: list[tuple[int, int]]
) -> Answer:
    """206 for one range or several (multipart/byteranges; RFC 9110, 14.6)."""
    if len(ranges) == 1:
        start, end = ranges[0]
        fields = [("Content-Type", kind)] if kind else []
        fields += [("Content-Length", str(end - start)), *validators, ("Content-Range", f"bytes {start}-{end - 1}/{size}")]
        answer = Answer(206, fields, length=end - start)
        if x.method != "HEAD":
            answer.body = FileBody(open(handle, "rb", buffering=0), start, end - start)
        return answer
    boundary = f"{int.from_bytes(os.urandom(8), 'big'):020}"
    heads = []
    for start, end in ranges:
        shown = f"Content-Type: {kind}\r\n" if kind else ""
        head = f"\r\n--{boundary}\r\n{shown}Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n"
        heads.append((head.encode("latin-1"), start, end - start))
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(head) + count for head, _, count in heads) + len(tail)
    fields = [("Content-Type", f"multipart/byteranges; boundary={boundary}"), ("Content-Length", str(length)), *validators]
    answer = Answer(206, fields, length=length)
    if x.method != "HEAD":
        answer.body = _Parts(open(handle, "rb", buffering=0), heads, tail)
    return answer


class _Parts:
    """The body of a multipart answer over one open file."""

    __slots__ = ("_file", "_heads", "_tail")

    def __init__(self, file: io.RawIOBase, heads: list[tuple[bytes, int, int]], tail: bytes) -> None:
        self._file = file
        self._heads = heads
        self._tail = tail

    def __iter__(self) -> Iterator[bytes]:
        for head, start, count in self._heads:
            yield head
            yield from FileBody(self._file, start, count)
        yield self._tail

    def close(self) -> None:
        self._file.close()
