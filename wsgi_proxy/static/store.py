"""`proxy_store`: keeps the responses of upstreams as files, which a location with `root` or `alias` can serve.

Rules:
- Only a complete 200 to a GET is kept. It is written to a temporary file and moved into place: a reader never sees a part.
- The file has the time of Last-Modified and the permissions of `proxy_store_access`; missing directories are made.
- A path with a segment `..` is refused, because clients control variables. A failure never fails the response.
- When the client leaves before the end nothing is kept.
Source: nginx, ngx_http_upstream_store, by behaviour.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..http import file_name, parse_date
from ..logs import errorlog
from ..variables import filename

if TYPE_CHECKING:
    from ..config import Template
    from ..exchange import Exchange
    from ..response import Response


def keep(exchange: Exchange, response: Response, path: Template | None, access: int, temp_path: str) -> None:
    """Copy the response to a file while it is sent; `path` None stands for the file of the request's URI."""
    if response.status != 200 or exchange.method != "GET":
        return
    name = filename(exchange) if path is None else path(exchange)
    if "\0" in name or ".." in name.split("/") or not name or name.endswith("/"):
        errorlog.line("error", f'storing "{name}" is refused', exchange)
        return
    name = os.path.join(exchange.prefix, name)
    modified = response.header("last-modified")
    when = parse_date(modified, time.time()) if modified is not None else None
    response.body = StoredBody(exchange, response, file_name(name), access, temp_path, when)


class StoredBody:
    """A body that is also written to a file; `modified` is in seconds since the epoch."""

    def __init__(
        self, exchange: Exchange, response: Response, path: str, access: int, temp_path: str, modified: float | None
    ) -> None:
        self._exchange = exchange
        self._body: Any = response.body
        self._length = response.length
        self._path = path
        self._access = access
        self._temp_path = temp_path
        self._modified = modified

    def __iter__(self) -> Iterator[bytes]:
        copy = self._open()
        size = 0
        try:
            for block in self._body:
                if copy is not None:
                    try:
                        copy.write(block)
                        size += len(block)
                    except OSError as error:
                        self._failed("write()", copy.name, error)
                        self._drop(copy)
                        copy = None
                yield block
            if copy is not None and (self._length is None or self._length == size):
                self._move(copy)
                copy = None
        finally:
            self._drop(copy)

    def _open(self) -> Any:
        try:
            os.makedirs(self._temp_path or tempfile.gettempdir(), 0o700, exist_ok=True)
            return tempfile.NamedTemporaryFile("wb", prefix="wsgi_proxy-store-", dir=self._temp_path or None, delete=False)
        except OSError as error:
            self._failed("open()", self._temp_path, error)
            return None

    def _drop(self, copy: Any) -> None:
        if copy is not None:
            copy.close()
            os.unlink(copy.name)

    def _move(self, copy: Any) -> None:
        """Move the complete file into place."""
        path, access = self._path, self._access
        try:
            copy.flush()
            os.fchmod(copy.fileno(), access)
            copy.close()
            if self._modified is not None:
                os.utime(copy.name, (time.time(), self._modified))
            make_directories(os.path.dirname(path), access | (access & 0o444) >> 2)
            move(copy.name, path)
        except OSError as error:
            self._failed("rename()", path, error)
            if os.path.exists(copy.name):
                self._drop(copy)

    def _failed(self, call: str, path: str, error: OSError) -> None:
        errorlog.line("crit", f'{call} "{path}" failed ({error.errno}: {error.strerror})', self._exchange)

    def ready(self) -> bool:
        """Return True if the other body's first block has arrived."""
        ready = getattr(self._body, "ready", None)
        return ready is None or bool(ready())

    def next_at_hand(self) -> bool:
        """Return True if the other body's next block can be had without waiting."""
        found = getattr(self._body, "next_at_hand", None)
        return found is not None and bool(found())

    def close(self) -> None:
        """Close the other body."""
        body, self._body = self._body, ()
        close = getattr(body, "close", None)
        if close is not None:
            close()


def move(source: str | bytes, path: str | bytes) -> None:
    """Move a file into place, in one step also between file systems. Raises OSError."""
    try:
        os.replace(source, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        whole = os.fsencode(source)
        near = os.fsencode(path) + b"." + os.path.basename(whole)
        shutil.copy2(whole, near)
        os.replace(near, path)
        os.unlink(whole)


def make_directories(path: str, mode: int) -> None:
    """Make the missing directories of a path, each with this mode under the process's umask."""
    if os.path.isdir(path):
        return
    make_directories(os.path.dirname(path), mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
