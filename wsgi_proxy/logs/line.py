r"""The lines of access logs: the values of a format's variables between its literal texts, escaped.

Rules:
- A line is first tested as a whole, because one pass over all values costs less than one test of each. Only a line with a
  character that may need an escape is escaped value by value.
- `default` writes `"`, `\` and bytes that do not print as \xXX, `json` escapes for a JSON string, `none` does nothing. A missing
  value is "-" in the first and "" in the others.
Source: ngx_http_log_module, log_format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..exchange import Exchange

_LOG_SPECIAL: Final = re.compile(r'["\\\x00-\x1f\x7f-\xff]')
_JSON_SPECIAL: Final = re.compile(r'["\\\x00-\x1f]')
_JSON_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _changed(special: re.Pattern[str]) -> bytes:
    """Return a table for `bytes.translate` that changes the special characters and no others."""
    return bytes(byte ^ 1 if special.match(chr(byte)) else byte for byte in range(256))


_LOG_TABLE: Final = _changed(_LOG_SPECIAL)
_JSON_TABLE: Final = _changed(_JSON_SPECIAL)


class LogLine:
    """A log format. `pieces` are its texts in their order, with None for each variable; `getters` give the values of these."""

    __slots__ = ("_escape", "_getters", "_missing", "_pieces", "_table")

    def __init__(self, pieces: list[str | None], getters: list[Callable[[Exchange], str | None]], escape: str) -> None:
        self._pieces = ["" if piece is None else piece for piece in self._spaced(pieces)]
        """The texts at even indexes, and the places of the values at the odd ones between them."""
        self._getters = getters
        self._missing = "-" if escape == "default" else ""
        self._escape = escape
        self._table = _LOG_TABLE if escape == "default" else _JSON_TABLE

    def _spaced(self, pieces: list[str | None]) -> list[str | None]:
        spaced: list[str | None] = [""]
        for piece in pieces:
            if piece is None:
                spaced += [None, ""]
            else:
                spaced[-1] = f"{spaced[-1]}{piece}"
        return spaced

    def write(self, exchange: Exchange) -> str:
        """Return the line of an exchange."""
        missing = self._missing
        values: list[str] = []
        for getter in self._getters:
            value = getter(exchange)
            values.append(missing if value is None else value)
        if self._escape != "none":
            joined = "".join(values).encode("latin-1")
            if joined.translate(self._table) != joined:
                escape = escape_log if self._escape == "default" else escape_json
                values = [escape(value) for value in values]
        parts = self._pieces.copy()
        at = 1
        for text in values:
            parts[at] = text
            at += 2
        return "".join(parts)


class RequestField:
    """`$http_name` as a function. `key` is its key in an environ; `otherwise` serves requests with underscores in their names."""

    __slots__ = ("_key", "_otherwise")

    def __init__(self, key: str, otherwise: Callable[[Exchange], str | None]) -> None:
        self._key = key
        self._otherwise = otherwise

    def __call__(self, exchange: Exchange) -> str | None:
        return self._otherwise(exchange) if exchange.underscored else exchange.sent(self._key)


def escape_log(value: str) -> str:
    r"""Return a value as `escape=default` writes it: `"`, `\` and bytes that do not print as \xXX."""
    return _LOG_SPECIAL.sub(lambda match: f"\\x{ord(match[0]):02X}", value)


def escape_json(value: str) -> str:
    """Return a value as `escape=json` writes it inside a JSON string."""
    return _JSON_SPECIAL.sub(lambda match: _JSON_SHORT.get(match[0]) or f"\\u{ord(match[0]):04X}", value)
