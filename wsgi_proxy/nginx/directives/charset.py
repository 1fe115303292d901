"""Character sets: `charset`, `source_charset` and the tables of `charset_map`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...config import CharsetMap, CharsetSettings, Template
from . import values
from .filters import media_types
from .row import IFS, Bad, Level, Row, Statement, special, value

if TYPE_CHECKING:
    from .reading import Reading

_BYTE = re.compile(r"[0-9A-Fa-f]+")


def _declare(level: Level, *names: str) -> None:
    """Make names of character sets known to the configuration."""
    http = level.outer("http")
    assert http is not None
    http.own["charset.known"] = http.own.get("charset.known", frozenset()) | {name.lower() for name in names}


def _name(level: Level, args: list[str]) -> Template:
    if not args[0].startswith("$"):
        _declare(level, args[0])
    return level.template(args[0])


def _charset(level: Level, args: list[str]) -> Template:
    return level.template("off") if args[0] == "off" else _name(level, args)


def _map(level: Level, statement: Statement) -> None:
    source, target = (name.lower() for name in statement.args)
    shown = '"{}" and "{}"'.format(*statement.args)
    if source == target:
        raise Bad(f'"charset_map" between the same charsets {shown}')
    maps: list[CharsetMap] = level.own.setdefault("charset.maps", [])
    if any({source, target} == {table.source, table.target} for table in maps):
        raise Bad(f'duplicate "charset_map" between {shown}')
    _declare(level, source, target)
    character = _sequence if target == "utf-8" else _octet
    pairs = []
    for inner in statement.block or ():
        if inner.block is not None or len(inner.args) != 1:
            level.reading.fault("invalid parameters number", inner.place)
        else:
            pair = _pair(level.reading, inner, character)
            pairs += [pair] if pair is not None else []
    maps.append(CharsetMap(source, target, tuple(pairs)))


def _pair(reading: Reading, line: Statement, character: Callable[[str], bytes | None]) -> tuple[int, bytes] | None:
    """Return (byte, character) of a line of a table; None, with a fault, for values that are neither."""
    source, target = _octet(line.name), character(line.args[0])
    for text, found in ((line.name, source), (line.args[0], target)):
        if found is None:
            reading.fault(f'invalid value "{text}"', line.place)
    return None if source is None or target is None else (source[0], target)


def _octet(text: str) -> bytes | None:
    number = int(text, 16) if _BYTE.fullmatch(text) else 256
    return bytes([number]) if number < 256 else None


def _sequence(text: str) -> bytes | None:
    """Return the bytes of a character in UTF-8, at most three."""
    if not _BYTE.fullmatch(text) or len(text) % 2 or len(text) > 6:
        return None
    return bytes.fromhex(text)


def check_charset(level: Level, settings: CharsetSettings) -> None:
    """Check that there is a `charset_map` between the two character sets of a level."""
    target, source = (getattr(each, "constant", None) for each in (settings.name, settings.source))
    if not target or not source or target == "off" or target.lower() == source.lower():
        return
    if not any({target.lower(), source.lower()} == {table.source, table.target} for table in settings.maps):
        level.reading.fault(f'no "charset_map" between the charsets "{source}" and "{target}"', level.place)


ROWS: tuple[Row, ...] = (
    value("charset", IFS, "TAKE1", "charset.name", _charset),
    value("source_charset", IFS, "TAKE1", "charset.source", _name),
    value("override_charset", IFS, "FLAG", "charset.override", values.flag("override_charset")),
    media_types("charset_types", "charset.types", "text/html"),
    special("charset_map", "http", "BLOCK TAKE2", _map, "charset.maps"),
)
