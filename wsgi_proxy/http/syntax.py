"""The syntax that the heads of requests and responses share (RFC 9110, section 5; RFC 9112, section 5). Pure.

Rules:
- Text is latin-1: a character is a byte.
- Every memory here is bounded, so that a peer that invents names cannot make it grow.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

Pairs = list[tuple[str, str]]
"""Header fields as (name, value), in order, with repetitions."""

ALLOWED: Final = b"\t\r\n" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
"""The bytes that a head may contain (RFC 9110, section 5.5): visible characters, space, tab, obs-text, and line ends, which the
parsers check separately."""

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
METHOD: Final = re.compile(r"[A-Z_-]+")

FRAMING = ("connection", "content-length", "transfer-encoding", "upgrade")
"""Fields that decide where a message ends and what becomes of its connection."""

UNIQUE = frozenset(
    {
        "authorization",
        "content-range",
        "expect",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "proxy-authorization",
    }
)
"""Fields that a request may have once (RFC 9110, section 5.3: no list, or one that nginx takes on one line only)."""

V10: Final = (1, 0)
V11: Final = (1, 1)
NO_TOKENS: Final[frozenset[str]] = frozenset()

MAX_NAMES: Final = 4096
"""Spellings of field names remembered by each parser."""
_MAX_LENGTH: Final = 2**63 - 1
_BREAK: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f][\x00-\x20\x7f]*")


def learn(name: str, names: dict[str, str], meant: frozenset[str]) -> str | None:
    """Return a field's name in lower case if it is in `meant`, else ""; None if it is not a token (RFC 9110, section 5.1).

    The result is remembered in `names`.
    """
    if not TOKEN.fullmatch(name):
        return None
    lower = name.lower()
    meaning = lower if lower in meant else ""
    if len(names) < MAX_NAMES:
        names[name] = meaning
    return meaning


def single_line(value: str) -> str:
    """Return a field's value with each control character and the blanks behind it as one space (RFC 9110, section 5.5).

    A configuration may write a long value over several lines, and a variable may hold any byte of a client.

    >>> single_line("default-src 'self';\\n    img-src *")
    "default-src 'self'; img-src *"
    """
    if value.isprintable() or not _BREAK.search(value):
        return value
    return _BREAK.sub(" ", value).strip(" \t")


@lru_cache(1024)
def tokens(value: str) -> frozenset[str]:
    """Return the members of a comma-separated list in lower case, without empty ones (RFC 9110, section 5.6.1).

    >>> sorted(tokens("Upgrade,, keep-alive "))
    ['keep-alive', 'upgrade']
    """
    return frozenset(member for part in value.split(",") if (member := part.strip(" \t").lower()))


def length_of(value: str) -> int | None:
    """Return a Content-Length in bytes (RFC 9110, section 8.6); None if it is not 1*DIGIT or exceeds 63 bits."""
    if not value.isascii() or not value.isdigit() or len(value) > 19:
        return None
    length = int(value)
    return length if length <= _MAX_LENGTH else None
