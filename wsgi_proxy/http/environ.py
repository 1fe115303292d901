"""The request that an environ describes (PEP 3333), and how much of its raw form still agrees with it.

Rules:
- The environ is the request. WSGI middlewares edit it, and a raw copy that a server hands over beside it (fields with their order
  and case, the target with its escapes) serves only where it still agrees: field by field, the path and the query each by itself.
- Pure. Text is WSGI's: a character is a byte (latin-1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from ..errors import ProxyError
from .syntax import Pairs
from .uri import escape, printable

_ENCODED_SLASH = re.compile(r"%2[Ff]")
_CHARACTER = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_FORBIDDEN = re.compile(r"[\r\n\0]")


def field_values(environ: Mapping[str, Any]) -> dict[str, str]:
    """The keys of an environ that are fields of the request, with their values.

    A Content-Type or Content-Length that is empty is none (PEP 3333). Raises ProxyError(500) for a value that is no field's (RFC
    9110, section 5.5): an application put it there.
    """
    found: dict[str, str] = {}
    for key, value in environ.items():
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if not isinstance(value, str) or _FORBIDDEN.search(value):
                raise ProxyError(f"the environ's {key} is no value of a field")
            if value or key[:5] == "HTTP_":
                found[key] = value
    return found


def pairs_of(environ: Mapping[str, Any]) -> Pairs:
    """The fields of an environ whose server does not hand over the raw ones: order, case and repetitions are lost."""
    # gunicorn says HTTP_VERSION of HTTP/2: no client sent that.
    invented = "HTTP_VERSION" if environ.get("SERVER_PROTOCOL", "").startswith("HTTP/2") else ""
    return [(_name(key), value) for key, value in field_values(environ).items() if key != invented]


def agreed_pairs(environ: Mapping[str, Any], pairs: Pairs, sent: Mapping[str, str]) -> Pairs:
    """The raw fields where they agree with the environ, the environ's where they do not.

    `sent` has the keys and values that the server made of `pairs`. A field that was changed keeps its place, one that was added
    comes last. Where a field was changed, removed or added, its twin with an underscore goes: it has no key of its own.
    """
    if _untouched(environ, sent):
        return pairs
    now = field_values(environ)
    edited = {key for key, value in sent.items() if value != now.get(key, "" if key[:8] == "CONTENT_" else None)}
    edited.update(key for key in now if key not in sent)
    if not edited:
        return pairs
    merged: Pairs = []
    for name, value in pairs:
        key = _key(name)
        if key not in edited:
            merged.append((name, value))
        elif key in now and "_" not in name:
            merged.append((name, now.pop(key)))
    return merged + [(_name(key), now[key]) for key in now if key in edited]


def _untouched(environ: Mapping[str, Any], sent: Mapping[str, str]) -> bool:
    """Return True when the fields are exactly those that the server made: the usual case, without a look into their values."""
    left = len(sent)
    for key in environ:
        if key[:5] == "HTTP_" or key == "CONTENT_TYPE" or key == "CONTENT_LENGTH":
            if sent.get(key) != environ[key]:
                return False
            left -= 1
    return not left


def _key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def _name(key: str) -> str:
    return key.removeprefix("HTTP_").replace("_", "-").title()


def agreed_target(environ: Mapping[str, Any], target: str) -> str:
    """The target below the mount, in origin form: PATH_INFO and QUERY_STRING, escaped as in `target` where that agrees.

    `target` is the raw one in origin form, or "". SCRIPT_NAME comes off it where it is a part of it; a mount that only a proxy in
    front of this server has (X-Forwarded-Prefix) is none.
    """
    path, mark, query = target.partition("?")
    asked = environ.get("QUERY_STRING", "")
    if query != asked:
        mark, query = ("?" if asked else ""), printable(asked).replace("#", "%23")
    path = _agreed_path(path, environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", ""))
    return f"{path}{mark}{query}" if path[:1] == "/" else f"/{path}{mark}{query}"


def _agreed_path(path: str, mount: str, below: str) -> str:
    if " " not in path:
        for decoded in _decoded(path):
            if decoded == mount + below:
                start = _length_in(path, mount) if mount else 0
                return path[start:]
            if decoded == below:
                return path
    return escape(below)


def _decoded(path: str) -> Iterator[str]:
    """The path as servers decode it: byte by byte; others differ where it is not ASCII, or leave an encoded slash."""
    if "%" not in path:
        yield path
    else:
        yield unquote_to_bytes(path.encode("latin-1", "replace")).decode("latin-1")
        yield "%2F".join(unquote_to_bytes(part).decode("latin-1") for part in _ENCODED_SLASH.split(path))
        yield unquote_to_bytes(path).decode("latin-1")
    yield unquote(path).encode("utf-8", "replace").decode("latin-1")


def _length_in(path: str, mount: str) -> int:
    """How long a mount is in the raw path that begins with it."""
    if "%" not in path[: len(mount)]:
        return len(mount)
    ends = [found.end() for found in _CHARACTER.finditer(path)]
    return ends[min(len(mount), len(ends)) - 1]
