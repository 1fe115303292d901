"""A configuration while it is read: every statement meets its row, and every fault gets its place.

Rules:
- The checks of a statement come in nginx's order: known at all, allowed in this block, ends with `;` or `{` as it must, number of
  arguments, and then the row's own action.
- A fault never stops the reading: the next statement is read, and all faults are told together.
- What depends on the whole file (names of variables, upstreams, zones) is put off by `later` until the file is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping

from ...config import CacheZone, LimitConnZone, LimitReqZone, LogFormat, Match, SourceLine, Template, Upstream
from ...errors import ConfigError, Fault
from ...variables import Names, compile_text
from .row import Bad, BadValue, Level, Row, Statement

MAX_FAULTS = 100
"""Faults that are told; a file with more is no configuration."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class TooManyFaults(Exception):
    """Reading on would not help anybody."""


Table = Mapping[str, tuple[Row, ...]]


class Reading:
    """What is known so far of one configuration.

    `known` are names of directives that nginx has and we have not, so that the fault can say so.
    """

    def __init__(self, table: Table, path: str, prefix: str, known: Callable[[str], bool]) -> None:
        self.table = table
        self.path = path
        self.prefix = prefix
        self.known = known
        self.names = Names()
        self.faults: list[Fault] = []
        self.warnings: dict[str, None] = {}
        """Each line once, in the order of finding."""
        self.upstreams: dict[str, Upstream] = {}
        self.cache_zones: dict[str, CacheZone] = {}
        self.limit_req_zones: dict[str, LimitReqZone] = {}
        self.limit_conn_zones: dict[str, LimitConnZone] = {}
        self.matches: dict[str, Match] = {}
        self.log_formats: dict[str, LogFormat] = {}
        self.sized_zones: set[str] = set()
        """Names of upstreams' zones that some upstream gives a size."""
        self._told: set[tuple[str, SourceLine]] = set()
        self._later: list[tuple[SourceLine, Callable[[], None]]] = []

    # --- faults -------------------------------------------------------------------------------------------------------------

    def fault(self, message: str, place: SourceLine) -> None:
        """Note a fault; the same words about the same line are told once."""
        message = as_shown(message)
        if (message, place) in self._told:
            return
        self._told.add((message, place))
        self.faults.append(Fault(message, place.file, place.line or None))
        if len(self.faults) >= MAX_FAULTS:
            self.faults.append(
                Fault("too many faults, the rest of the configuration is not read", place.file, place.line or None)
            )
            raise TooManyFaults

    def warn(self, message: str, place: SourceLine) -> None:
        """Note an oddity that does not stop the start."""
        message = as_shown(message)
        line = f"{message} in {place.file}:{place.line}" if place.file else message
        self.warnings[line] = None

    def guarded(self, place: SourceLine, act: Callable[[], None], name: str = "") -> None:
        """Run `act`; what it raises becomes a fault at this place."""
        self.names.place = place
        try:
            act()
        except BadValue as error:
            self.fault(f'"{name}" directive {error}', place)
        except Bad as error:
            self.fault(str(error), place)
        except ConfigError as error:
            for fault in error.faults:
                self.fault(fault.message, SourceLine(fault.file, fault.line or 0) if fault.file else place)

    def later(self, place: SourceLine, act: Callable[[], None]) -> None:
        """Run `act` when the whole file is read."""
        self._later.append((place, act))

    def finish(self) -> None:
        """What had to wait for the whole file."""
        for place, act in self._later:
            self.guarded(place, act)
        self._later.clear()

    # --- statements ---------------------------------------------------------------------------------------------------------

    def walk(self, level: Level, statements: Iterable[Statement]) -> None:
        """Read the statements of one block."""
        for statement in statements:
            row = self._row(level, statement)
            if row is not None:
                self._perform(row, level, statement)

    def _perform(self, row: Row, level: Level, statement: Statement) -> None:
        place = statement.place
        self.guarded(place, lambda: row.act(level, statement), statement.name)

    def _row(self, level: Level, statement: Statement) -> Row | None:
        """The row that this statement meets in this block, or None when there is a fault."""
        name, place = statement.name, statement.place
        rows = self.table.get(name)
        if rows is None:
            if self.known(name):
                self.fault(f'directive "{name}" is not supported by wsgi_proxy', place)
            else:
                self.fault(f'unknown directive "{name}"', place)
            return None
        row = next((row for row in rows if level.kind in row.places), None)
        if row is None:
            self.fault(f'"{name}" directive is not allowed here', place)
        elif row.opens_block and statement.block is None:
            self.fault(f'directive "{name}" has no opening "{{"', place)
        elif not row.opens_block and statement.block is not None:
            self.fault(f'directive "{name}" is not terminated by ";"', place)
        elif len(statement.args) not in row.counts:
            self.fault(f'invalid number of arguments in "{name}" directive', place)
        else:
            return row
        return None

    def enter(self, level: Level, kind: str, statement: Statement) -> Level:
        """Make the level of a block inside `level`; its statements are not read yet."""
        inner = Level(kind, self, level, statement)
        level.inner.append(inner)
        return inner

    # --- helpers for converters ---------------------------------------------------------------------------------------------

    def compile(self, text: str) -> Template:
        """Text with $names as a function of an Exchange; unknown names become faults of this place at the end."""
        return compile_text(text, self.names)

    def absolute(self, path: str, beside_configuration: bool = False) -> str:
        """A path as the file system has it: text of the file's bytes, under the prefix or beside the configuration file."""
        path = as_path(path)
        return os.path.join(os.path.dirname(self.path) if beside_configuration else self.prefix, path)


def as_shown(message: str) -> str:
    """A message with the configuration's text in it (a character a byte), as people read it: one line of UTF-8."""
    if message.isascii() and message.isprintable():
        return message
    try:
        message = message.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        # It holds a file's name, which is text already, or bytes that are no UTF-8.
        pass
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], message)


def as_path(text: str) -> str:
    """WSGI's text (a character a byte) as Python's name of a file."""
    return os.fsdecode(text.encode("latin-1"))
