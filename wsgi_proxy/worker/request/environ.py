"""The environ of a request (PEP 3333), with the keys that this worker adds.

Rules:
- `wsgi_proxy.pairs` are the fields as sent, `wsgi_proxy.fields` their lines or None; `wsgi_proxy.connection` is the `Link`.
  `wsgi_proxy.keys` are the keys and values made of the fields, present if a middleware may edit the environ before the proxy sees
  it (`http.environ`).
- A name with an underscore never becomes an `HTTP_` key, because that could not be distinguished from its twin with a dash.
- Repeated fields are joined by a comma, Cookie by a semicolon (RFC 9110, section 5.3; RFC 6265, section 5.4).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from ...http import Pairs
    from ..link import Link
    from .head import Request

REQUEST_KEYS: Final = (
    *("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "RAW_URI", "REMOTE_ADDR", "REMOTE_PORT"),
    *("wsgi_proxy.pairs", "wsgi_proxy.fields", "wsgi_proxy.connection"),
)
"""The keys that `make_environ` sets in every case."""
_KEYS: Final[dict[str, str]] = {}
_MAX_KEYS: Final = 4096


def _learn(name: str) -> str:
    """Return the key for a field's name, "" for none, and remember it. The memory is bounded."""
    key = name.upper()
    if "_" in key:
        key = ""
    else:
        key = key.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
    if len(_KEYS) < _MAX_KEYS:
        _KEYS[name] = key
    return key


def field_keys(pairs: Pairs) -> dict[str, str]:
    """Return the environ keys of a request's fields, with their values."""
    keys: dict[str, str] = {}
    known = _KEYS.get
    for name, value in pairs:
        key = known(name)
        if key is None:
            key = _learn(name)
        if key in keys:
            keys[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value
        elif key:
            keys[key] = value
    return keys


def make_environ(connection: Link, request: Request) -> dict[str, Any]:
    """Return the environ of a request, without `wsgi.input` and the keys that the response writer adds."""
    environ = connection.listener.base.copy()
    fields = request.fields
    if fields is None:
        environ.update(request.keys)
    else:
        for field in fields:
            key = field.key
            if key in environ:
                environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + field.value
            elif key:
                environ[key] = field.value
    path, _, query = request.uri.partition("?")
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["RAW_URI"] = request.target
    if not request.modern:
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    environ["REMOTE_ADDR"] = connection.remote_addr
    environ["REMOTE_PORT"] = connection.remote_port
    environ["wsgi_proxy.pairs"] = request.pairs
    environ["wsgi_proxy.fields"] = fields
    environ["wsgi_proxy.connection"] = connection
    if connection.forwarded is not None:
        environ.update(connection.forwarded)
    if environ["SCRIPT_NAME"]:
        _take_script_name(environ)
    return environ


def _take_script_name(environ: dict[str, Any]) -> None:
    """Remove SCRIPT_NAME, which gunicorn reads from an environment variable, from the path."""
    script = environ["SCRIPT_NAME"]
    path = environ["PATH_INFO"]
    if path.startswith(script):
        environ["PATH_INFO"] = path[len(script) :]
    else:
        environ["SCRIPT_NAME"] = ""


class FileWrapper:
    """`wsgi.file_wrapper`: sent by sendfile if the file has a descriptor, else read block by block."""

    __slots__ = ("block_size", "close", "filelike")
    __deletable__ = ["close"]

    def __init__(self, filelike: Any, block_size: int = 64 * 1024) -> None:
        self.filelike = filelike
        self.block_size = block_size
        self.close = getattr(filelike, "close", None)
        if self.close is None:
            del self.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def extent(self) -> tuple[int, int, int] | None:
        """Return (file descriptor, offset, bytes to the end); None if there is no real file."""
        try:
            number = self.filelike.fileno()
            offset = self.filelike.tell()
            return number, offset, max(0, os.fstat(number).st_size - offset)
        except (AttributeError, OSError, ValueError):
            return None
