"""Request targets and hosts: normalisation as in nginx, escaping, and parsing. Pure.

Rules:
- Text is WSGI's: a character is a byte (latin-1).
- Order as in nginx: split at `?`, drop a fragment, decode percent escapes once, then resolve `.` and `..` and merge slashes, so
  that an encoded dot or slash is a dot or a slash. A zero byte, a broken escape, or `..` above the root is a 400.
"""

from __future__ import annotations

import ipaddress
import os
import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from ..errors import ClientError, InvalidLine

_ESCAPE_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE: Final = re.compile(r"%(?:([0-9A-Fa-f]{2})|[0-9A-Fa-f].?|(.)|$)", re.DOTALL)
_UNSAFE: Final = re.compile(r"(?:^|/)\.\.(?:/|$)|\0")
_FUTURE = r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+"
_HOST: Final = re.compile(rf"(?:\[([0-9A-Fa-f:.]+|{_FUTURE})\]|((?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{{2}})+))(?::([0-9]*))?")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")
SAFE_PATH: Final = "/!$&'()*+,-.:;=@[]_~"
"""Characters that nginx does not escape in a URI for an upstream (ngx_escape_uri, NGX_ESCAPE_URI)."""

SAFE_ARGS: Final = "/!$'()*,-.:=@[]_~"
"""Characters that nginx does not escape in a query: the same without `&`, `+` and `;`."""


def normalise(target: str, merge_slashes: bool = True) -> tuple[str, str]:
    """Return (uri, args) of an origin-form target: the decoded, resolved path and the raw query without `?`.

    >>> normalise("/a/../%62//c?x=%20")
    ('/b/c', 'x=%20')
    """
    path, _, args = target.partition("?")
    if "#" in target:
        path, _, args = target.partition("#")[0].partition("?")
    if "%" in path:
        if _ESCAPE_BROKEN.search(path):
            raise InvalidLine("broken escape in the request's target")
        path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
        if "\0" in path:
            raise InvalidLine("zero byte in the request's target")
    return resolved(path, merge_slashes), args


def resolved(path: str, merge_slashes: bool = True) -> str:
    """Return a decoded path without `.` and `..` (RFC 3986, section 5.2.4). Raises ClientError if it leaves the root.

    >>> resolved("/a/./b/../c")
    '/a/c'
    """
    if "/." in path or "//" in path:
        return _resolve(path, merge_slashes)
    return path


def split_unsafe(text: str) -> tuple[str, str] | None:
    """Return (uri, args) of a URI from an application (X-Accel-Redirect), decoded.

    None is returned for a URI that is empty, or has a zero byte or a segment `..` (ngx_http_parse_unsafe_uri). A broken escape
    loses its percent sign, as in nginx.

    >>> split_unsafe("/a%3Fb?c%20d"), split_unsafe("/a/%2e%2e/b")
    (('/a?b', 'c%20d'), None)
    """
    path, _, args = text.partition("?")
    if not path or _UNSAFE.search(path):
        return None
    if "%" in path:
        path = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2] or "", path)
        if _UNSAFE.search(path):
            return None
    return path, args


def _resolve(path: str, merge_slashes: bool) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    last = len(segments) - 1
    for number, segment in enumerate(segments):
        if segment == ".":
            if number == last:
                kept.append("")
        elif segment == "..":
            if not kept:
                raise InvalidLine("the request's target leaves the root")
            kept.pop()
            if number == last:
                kept.append("")
        elif segment or number == last or not merge_slashes:
            kept.append(segment)
    return "/" + "/".join(kept)


def behind(target: str, prefix: str) -> str | None:
    """Return the raw part of a target behind a prefix, with the query; None if the path is not in its resolved form.

    >>> behind("/api/a%2Fb?c", "/api/"), behind("/api/%2e%2e/x", "/api/")
    ('a%2Fb?c', None)
    """
    path = target.partition("?")[0]
    if not path.startswith(prefix) or "#" in target:
        return None
    decoded = unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if "%" in path else path
    return None if "/." in decoded else target[len(prefix) :]


def escape(uri: str) -> str:
    """Return a decoded path escaped for a request line, as nginx does for a URI that it changed."""
    return quote(uri.encode("latin-1"), safe=SAFE_PATH)


def printable(target: str) -> str:
    """Return a target with spaces and control characters escaped, so that it stays one word of a request line."""
    if _UNPRINTABLE.search(target):
        return _UNPRINTABLE.sub(lambda match: f"%{ord(match[0]):02X}", target)
    return target


def escape_args(text: str) -> str:
    """Return a decoded part of a path escaped for a query (ngx_escape_uri, NGX_ESCAPE_ARGS)."""
    return quote(text.encode("latin-1"), safe=SAFE_ARGS)


@lru_cache(2048)
def check_host(host: str) -> tuple[str, int]:
    """Return (name, port) of a Host field or an authority, port 0 if it has none (RFC 9110, section 7.2).

    Raises ClientError for anything else, such as user information, a list or a path.
    """
    found = _HOST.fullmatch(host)
    if not found:
        raise ClientError(f"client sent an invalid host: {host[:80]!r}")
    literal, name, port = found.groups()
    if literal is not None:
        if literal[0] not in "vV":
            try:
                ipaddress.IPv6Address(literal)
            except ValueError as error:
                raise ClientError(f"client sent an invalid host: {host[:80]!r}") from error
        name = f"[{literal}]"
    elif ".." in name:
        raise ClientError(f"client sent an invalid host: {host[:80]!r}")
    digits = (port or "").lstrip("0")
    number = int(digits[:6] or 0)
    if number > 65535:
        raise ClientError(f"client sent an invalid port: {host[:80]!r}")
    return name, number


def bare_host(host: str) -> str:
    """Return a host without its port and brackets.

    >>> bare_host("[::1]:443"), bare_host("a.example:8443"), bare_host("a")
    ('::1', 'a.example', 'a')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def absolute_form(target: str) -> tuple[str, str, str] | None:
    """Return (scheme in lower case, authority, origin form) of a target in absolute form (RFC 9112, section 3.2.2), else None.

    >>> absolute_form("HTTP://a:81?b")
    ('http', 'a:81', '/?b')
    """
    scheme, colon, rest = target.partition("://")
    if not colon:
        return None
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    path = rest[cut:]
    return scheme.lower(), rest[:cut], path if path[:1] == "/" else "/" + path


def file_name(text: str) -> str:
    """Return Python's name of a file for WSGI's text.

    >>> file_name("caf\\xc3\\xa9")
    'café'
    """
    return os.fsdecode(text.encode("latin-1"))
