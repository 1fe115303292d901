"""The request that an environ describes (PEP 3333), and the parts of its raw form that still agree with it.

Rules:
- The environ is the request. WSGI middlewares edit it. A raw copy that the server hands over beside it (fields with their order
  and case, the target with its escapes) is used only where it still agrees: field by field, and path and query separately.
- Pure. Text is WSGI's: a character is a byte (latin-1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from ..errors import ProxyError
from .headers import HOP_BY_HOP, listed
from .syntax import Pairs
from .uri import escape, printable

_ENCODED_SLASH: Final = re.compile(r"%2[Ff]")
_CHARACTER: Final = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_FORBIDDEN: Final = re.compile(r"[\r\n\0]")


def field_values(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the environ's keys that are fields of the request, with their values.

    An empty Content-Type or Content-Length counts as absent (PEP 3333). Raises ProxyError(500) for a value that no field may
    have (RFC 9110, section 5.5), because an application must have put it there.
    """
    found: dict[str, str] = {}
    for key, value in environ.items():
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if not isinstance(value, str) or _FORBIDDEN.search(value):
                raise ProxyError(
                    f"the environ's {key} is not a field value: let the middleware that sets it use a str without CR, LF and NUL"
                )
            if value or key[:5] == "HTTP_":
                found[key] = value
    return found


def pairs_of(environ: Mapping[str, Any]) -> Pairs:
    """Return the fields of an environ without raw ones; their order, case and repetitions are lost."""
    # gunicorn adds HTTP_VERSION for HTTP/2; no client sent it.
    invented = "HTTP_VERSION" if environ.get("SERVER_PROTOCOL", "").startswith("HTTP/2") else ""
    return [(_name(key), value) for key, value in field_values(environ).items() if key != invented]


def agreed_pairs(environ: Mapping[str, Any], pairs: Pairs, sent: Mapping[str, str]) -> Pairs:
    """Return the raw fields where they agree with the environ, and the environ's fields where they do not.

    `sent` has the keys and values that the server made of `pairs`. A changed field keeps its place, an added one comes last.
    Where a field was changed, removed or added, its twin with an underscore is dropped, because both share one key.
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


def client_options(environ: Mapping[str, Any], sent: Mapping[str, str]) -> str:
    """Return the environ's Connection without the names of fields that a middleware has set.

    Connection lists the client's own fields (RFC 9110, section 7.6.1). A client must not remove one that a middleware sets, for
    example to say who the user is. `sent` has the keys and values that the server made of the client's fields. A field is the
    client's if its value is still the same object: a middleware may set the very value that the client has guessed. For values
    of one character, which share one object, the field counts as the middleware's.
    """
    connection: str = environ["HTTP_CONNECTION"]
    names = listed(connection) - HOP_BY_HOP
    if not names:
        return connection
    kept = []
    for option in connection.split(","):
        name = option.strip(" \t")
        key = _key(name)
        value: str = environ.get(key, "")
        untouched = key in environ and value is sent.get(key) and len(value) > 1
        if untouched or key not in environ or name.lower() not in names:
            kept.append(option)
    return ",".join(kept)


def _untouched(environ: Mapping[str, Any], sent: Mapping[str, str]) -> bool:
    """Return True if the fields are exactly those that the server made, which is the usual case and cheap to see."""
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
    """Return the target below the mount in origin form: PATH_INFO and QUERY_STRING, escaped as in `target` where that agrees.

    `target` is the raw target in origin form, or "". SCRIPT_NAME is removed if `target` begins with it. A mount that exists only
    in a proxy in front of this server (X-Forwarded-Prefix) does not count.
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
    """Yield the path as different servers decode it. They differ for text that is not ASCII and for encoded slashes."""
    if "%" not in path:
        yield path
    else:
        yield unquote_to_bytes(path.encode("latin-1", "replace")).decode("latin-1")
        yield "%2F".join(unquote_to_bytes(part).decode("latin-1") for part in _ENCODED_SLASH.split(path))
        yield unquote_to_bytes(path).decode("latin-1")
    yield unquote(path).encode("utf-8", "replace").decode("latin-1")


def _length_in(path: str, mount: str) -> int:
    """Return the number of raw characters of `path` that the mount takes up."""
    if "%" not in path[: len(mount)]:
        return len(mount)
    ends = [found.end() for found in _CHARACTER.finditer(path)]
    return ends[min(len(mount), len(ends)) - 1]
