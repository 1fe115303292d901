"""The check of arguments of the Python API when they are given. A wrong one is a ConfigError that names it.

Rules:
- Every function takes the value and `where`, the argument's name for the message, and returns the value.
- A value is never converted from another type: `"10"` is no number and `1` is no flag.
- No message repeats the password of a URL.
"""

from __future__ import annotations

import math
import os
import re
import reprlib
import ssl
from typing import Any

from ..errors import ConfigError, Fault

LARGEST = 2**31 - 1
"""The largest count that nginx accepts and that fits the shared memory."""

LONGEST = 10 * 365 * 86400.0
"""The longest time in seconds: ten years, which every timer accepts."""

UNIX_PATH_MAX = 107
"""The largest number of bytes in the path of a unix socket (sun_path, without its zero byte)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f\s]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_USERINFO = re.compile(r"//[^/?#]*@")


def wrong(where: str, wanted: str, value: object) -> ConfigError:
    """Return the error for an argument: its name, the expected kind of value, and the given value."""
    return ConfigError(Fault(f"{where}: {wanted}, not {shown(value)}"))


def shown(value: object) -> str:
    """Return a value for a message: shortened, and without the password of a URL."""
    if isinstance(value, str):
        value = _USERINFO.sub("//***@", value)
    elif isinstance(value, bytes):
        return "bytes"
    return reprlib.repr(value)


def text(value: object, where: str) -> str:
    """Return the value if it is a text without control characters that UTF-8 can encode."""
    if not isinstance(value, str):
        raise wrong(where, "a string is wanted", value)
    if _CONTROL.search(value):
        raise wrong(where, "a string without line breaks and control characters is wanted", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong(where, "a string that UTF-8 can write is wanted", value) from None
    return value


def word(value: object, where: str) -> str:
    """Return the value if it is a text without spaces that is not empty."""
    if not text(value, where) or _SPACE_OR_CONTROL.search(str(value)):
        raise wrong(where, "a string without spaces is wanted", value)
    return str(value)


def token(value: object, where: str) -> str:
    """Return the value if it is the name of a field (RFC 9110, section 5.6.2)."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise wrong(where, "the name of a field is wanted", value)
    return value


def flag(value: object, where: str) -> bool:
    """Return the value if it is True or False."""
    if not isinstance(value, bool):
        raise wrong(where, "True or False is wanted", value)
    return value


def count(value: object, where: str, low: int = 0, high: int = LARGEST) -> int:
    """Return the value if it is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(where, f"a whole number from {low} to {high} is wanted", value)
    return value


def seconds(value: object, where: str, positive: bool = False) -> float:
    """Return the value if it is a time in seconds, at most ten years."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST or (positive and not value):
        raise wrong(where, f"a {'positive ' if positive else ''}number of seconds is wanted", value)
    if math.isnan(value):
        raise wrong(where, "a number of seconds is wanted", value)
    return value


def instance(value: object, kind: type[Any], where: str) -> Any:
    """Return the value if it is an instance of the class."""
    if not isinstance(value, kind):
        raise wrong(where, f"a {kind.__name__} is wanted", value)
    return value


def address(value: object, where: str) -> str:
    """Return the value if it may be the address of a server. `upstream.parse` checks its parts."""
    plain = word(value, where)
    _, colons, rest = plain.partition("://")
    rest = rest if colons and not plain.startswith("unix:") else plain
    if rest.startswith("unix:"):
        if len(rest[len("unix:") :].encode()) > UNIX_PATH_MAX:
            raise wrong(where, f"the path of a unix socket has at most {UNIX_PATH_MAX} bytes", value)
    elif "@" in rest:
        raise wrong(where, "an address without a user's name is wanted", value)
    return plain


def client_context(verify: object, ssl_context: object, where: str = "") -> ssl.SSLContext:
    """Return the TLS context for connections to https servers.

    `verify` is True to trust the system's authorities (as `ssl.create_default_context` does), False to verify nothing, or the
    path of a file with trusted certificates. `ssl_context` is used unchanged, and `verify` must then be True, its default.
    """
    if ssl_context is not None:
        given: ssl.SSLContext = instance(ssl_context, ssl.SSLContext, f"{where}ssl_context")
        if given.protocol == ssl.PROTOCOL_TLS_SERVER:
            raise wrong(f"{where}ssl_context", "a context for clients is wanted (ssl.create_default_context())", ssl_context)
        if verify is not True:
            raise wrong(f"{where}verify", "the ssl_context says what is verified; True is wanted beside it", verify)
        return given
    if not isinstance(verify, bool | str | os.PathLike):
        raise wrong(f"{where}verify", "True, False or the path of a file with certificates is wanted", verify)
    try:
        context = ssl.create_default_context(cafile=None if isinstance(verify, bool) else os.fspath(verify))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise wrong(f"{where}verify", f"a file with certificates is wanted ({error})", verify) from error
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context
