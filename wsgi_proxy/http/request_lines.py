"""The header lines of requests: checked once, and remembered where they recur. Pure.

Rules:
- A line that a client has sent lately is one look-up. Its bytes, its name and its colon need no second check.
- Secrets, and fields whose values seldom recur, are not remembered.
- The memory is bounded in lines and in the length of a line.
"""

from __future__ import annotations

from ..errors import ClientError
from .syntax import ALLOWED, FRAMING, MAX_NAMES, TOKEN, UNIQUE

_MEANT = frozenset((*FRAMING, *UNIQUE, "host"))
_NOT_REMEMBERED = frozenset(
    {
        "authorization",
        "content-length",
        "cookie",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "proxy-authorization",
        "range",
        "referer",
        "traceparent",
        "x-forwarded-for",
        "x-request-id",
    }
)
"""Fields whose values seldom recur, or are secrets. They are not remembered."""
UNDERSCORE = "_"
"""The meaning of a name with an underscore, which no field of _MEANT has."""
MAX_LINES = 2048
_LONG = 256
"""Characters of a line from which it is not remembered."""


class FieldLine:
    """A header line that has been checked: its name and value, and its meaning for the request, "" for none."""

    __slots__ = ("meaning", "pair")

    def __init__(self, pair: tuple[str, str], meaning: str) -> None:
        self.pair = pair
        self.meaning = meaning


class LineMemory:
    """Header lines that recur. Lines that were used lately survive when it is full, at most 2 * MAX_LINES of them."""

    __slots__ = ("_names", "_older", "lately")

    def __init__(self) -> None:
        self.lately: dict[str, FieldLine] = {}
        self._older: dict[str, FieldLine] = {}
        self._names: dict[str, tuple[str, bool]] = {}
        """The meaning of each spelling of a name, and True if its lines are remembered."""

    def learn(self, line: str) -> FieldLine:
        """Return a line that is not in `lately`. Raises ClientError for a line that is no header field."""
        found = self._older.get(line)
        if found is None:
            found, recurs = self._read(line)
            if not recurs or len(line) >= _LONG:
                return found
        if len(self.lately) >= MAX_LINES:
            self._older, self.lately = self.lately, {}
        self.lately[line] = found
        return found

    def _read(self, line: str) -> tuple[FieldLine, bool]:
        check_characters(line)
        name, colon, value = line.partition(":")
        known = self._names.get(name)
        if known is None:
            known = self._learn_name(name, line)
        if not colon:
            raise ClientError(f"client sent a header line without a colon: {line[:80]!r}")
        return FieldLine((name, value.strip(" \t")), known[0]), known[1]

    def _learn_name(self, name: str, line: str) -> tuple[str, bool]:
        if not TOKEN.fullmatch(name):
            raise ClientError(f"client sent an invalid header line: {line[:80]!r}")  # RFC 9112, section 5.1 and 5.2
        lower = name.lower()
        known = lower if lower in _MEANT else UNDERSCORE if "_" in name else "", lower not in _NOT_REMEMBERED
        if len(self._names) < MAX_NAMES:
            self._names[name] = known
        return known


def check_characters(line: str) -> None:
    """Raise ClientError for a line with a character that no head may contain."""
    if line.isascii() and line.isprintable():
        return
    if "\r" in line or "\n" in line:
        raise ClientError("client sent a bare CR or LF")  # RFC 9112, section 2.2
    if line.encode("latin-1").translate(None, ALLOWED):
        raise ClientError("client sent a control character in the request's head")  # RFC 9110, section 5.5
