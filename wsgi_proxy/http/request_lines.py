"""The header lines of requests: checked once, and remembered where they recur. Pure.

Rules:
- A line that a client has sent lately is one look-up. Its bytes, its name and its colon need no second check. A line that stands
  where it stood in the last head is one comparison, because requests mostly have the same fields in the same order.
- Secrets, and fields whose values seldom recur, are not remembered beyond the next head.
- A line holds every form in which the proxy needs the field, so that no request makes one anew.
- The memory is bounded in lines and in the length of a line.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import ClientError
from .head_rules import environ_key
from .syntax import FRAMING, MAX_NAMES, TOKEN, UNIQUE

_MEANT: Final = frozenset((*FRAMING, *UNIQUE, "host"))
_NOT_REMEMBERED: Final = frozenset(
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
_FOR_CACHES: Final = frozenset(
    {
        "cache-control",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "range",
        "upgrade",
    }
)
"""Fields by which a cache gives a request another answer than the stored response, or none."""
UNDERSCORE: Final = "_"
"""The meaning of a name with an underscore, which no field of _MEANT has."""
MAX_LINES: Final = 2048
_LONG: Final = 256
"""Bytes of a line from which it is not remembered."""
CHECKED: Final = bytes(byte ^ 0x80 if (byte < 0x20 and byte != 0x09) or byte == 0x7F else byte for byte in range(256))
"""A table for `bytes.translate` that changes exactly the bytes that no line may contain (RFC 9110, section 5.5)."""


_numbers: Final[dict[str, int]] = {}
"""The numbers of spellings, at most MAX_NAMES of them, by which a filter of fields remembers its decisions."""


class FieldName:
    """A spelling of a field's name: its meaning for the request, "" for none, and its key in a WSGI environ.

    The key is "" for a name with an underscore, which would share it with its twin with a dash. `recurs` is True if lines of
    this name are remembered, `for_cache` if it is one of _FOR_CACHES. `prefix` is the beginning of a tidy line.
    `number` is that of the spelling, MAX_NAMES for one beyond the limit.
    """

    __slots__ = ("for_cache", "key", "meaning", "name", "number", "prefix", "recurs", "size")

    def __init__(self, name: str) -> None:
        lower = name.lower()
        self.name = name
        self.meaning = lower if lower in _MEANT else UNDERSCORE if "_" in name else ""
        self.key = "" if "_" in name else environ_key(name.upper())
        self.for_cache = lower in _FOR_CACHES
        self.recurs = lower not in _NOT_REMEMBERED
        self.prefix = f"{name}: ".encode("latin-1")
        self.size = len(self.prefix)
        number = len(_numbers)
        self.number = _numbers.setdefault(name, number) if number < MAX_NAMES else _numbers.get(name, MAX_NAMES)


class FieldLine:
    """A header line that has been checked.

    `pair` is its name and value as one tuple. It is declared as Any, because compiled code makes a new tuple at each use of an
    attribute that is declared as a tuple. `line` is `Name: value` without white space around the value, as it is forwarded.
    `meaning`, `key`, `for_cache` and `number` are those of `spelling`. `parameter` is the field as a CGI variable of the
    protocol `parameter_of`, in which the gateway has sent it last.
    """

    __slots__ = (
        "for_cache", "key", "line", "meaning", "name", "number", "pair", "parameter", "parameter_of", "spelling", "value",
    )  # fmt: skip

    def __init__(self, name: FieldName, value: str, line: bytes) -> None:
        self.spelling = name
        self.name = name.name
        self.key = name.key
        self.number = name.number
        self.meaning = name.meaning
        self.for_cache = name.for_cache
        self.value = value
        self.pair: Any = (name.name, value)
        self.line = line
        self.parameter = self.parameter_of = ""


class LineMemory:
    """Header lines that recur. Lines that were used lately survive when it is full, at most 2 * MAX_LINES of them."""

    __slots__ = ("_names", "_older", "lately", "last")

    def __init__(self) -> None:
        self.last: list[FieldLine] = []
        """The lines of the last head."""
        self.lately: dict[bytes, FieldLine] = {}
        self._older: dict[bytes, FieldLine] = {}
        self._names: dict[bytes, FieldName] = {}

    def find(self, line: bytes, at: int) -> FieldLine:
        """Return the line at index `at` of a head. Raises ClientError for a line that is no header field."""
        if at < len(self.last):
            before = self.last[at]
            if before.line == line:
                return before
            name = before.spelling
            size = name.size
            if not name.recurs and len(line) > size and line[:size] == name.prefix and line[size] > 0x20 and line[-1] > 0x20:
                check_characters(line)
                return FieldLine(name, line[size:].decode("latin-1"), line)
        return self.lately.get(line) or self.learn(line)

    def learn(self, line: bytes) -> FieldLine:
        """Return a line that is not in `lately`. Raises ClientError for a line that is no header field."""
        found = self._older.get(line)
        if found is None:
            check_characters(line)
            spelled, colon, rest = line.partition(b":")
            name = self._names.get(spelled)
            if name is None:
                name = self._learn_name(spelled, line)
            if not colon:
                raise ClientError(f"client sent a header line without a colon: {line[:80].decode('latin-1')!r}")
            value = rest.strip(b" \t")
            tidy = line if len(rest) == len(value) + 1 and rest[:1] == b" " else b"%b: %b" % (spelled, value)
            found = FieldLine(name, value.decode("latin-1"), tidy)
            if not name.recurs or len(line) >= _LONG:
                return found
        if len(self.lately) >= MAX_LINES:
            self._older, self.lately = self.lately, {}
        self.lately[line] = found
        return found

    def _learn_name(self, spelled: bytes, line: bytes) -> FieldName:
        text = spelled.decode("latin-1")
        if not TOKEN.fullmatch(text):
            # RFC 9112, section 5.1 and 5.2
            raise ClientError(f"client sent an invalid header line: {line[:80].decode('latin-1')!r}")
        name = FieldName(text)
        if len(self._names) < MAX_NAMES:
            self._names[spelled] = name
        return name


def check_characters(line: bytes) -> None:
    """Raise ClientError for a line with a byte that no head may contain."""
    if line.translate(CHECKED) == line:
        return
    if b"\r" in line or b"\n" in line:
        raise ClientError("client sent a bare CR or LF")  # RFC 9112, section 2.2
    raise ClientError("client sent a control character in the request's head")  # RFC 9110, section 5.5
