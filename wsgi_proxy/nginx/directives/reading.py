"""The state of reading a configuration: statements meet their rows, and faults get their lines.

Rules:
- A statement is checked in nginx's order: a known name, allowed in this block, ended by `;` or `{` as required, the number of
  arguments, and then the row's action.
- A fault never stops the reading, so that all faults are reported together.
- A check that depends on the whole file (names of variables, upstreams, zones) is postponed by `later`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping

from ...config import (
    CacheZone,
    Cluster,
    KeyvalZone,
    LimitConnZone,
    LimitReqZone,
    LogFormat,
    Match,
    OtelExporter,
    SourceLine,
    Template,
    Upstream,
)
from ...errors import ConfigError, Fault
from ...http import file_name
from ...keyval import Keyval
from ...variables import Names, compile_text
from .row import Bad, BadValue, Level, Row, Statement

MAX_FAULTS = 100
"""The largest number of reported faults."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class TooManyFaults(Exception):
    """Raised to stop the reading after `MAX_FAULTS`."""


Table = Mapping[str, tuple[Row, ...]]


class Reading:
    """The declarations found so far in one configuration, and its faults and warnings.

    `known` returns True for a name of a directive that nginx has and wsgi_proxy has not, for the fault's message.
    """

    def __init__(self, table: Table, path: str, prefix: str, known: Callable[[str], bool]) -> None:
        self.table = table
        self.path = path
        self.prefix = prefix
        self.known = known
        self.own_process = False
        """True if the command runs the configuration, so that its access log has a default place."""
        self.names = Names()
        self.faults: list[Fault] = []
        self.warnings: dict[str, None] = {}
        """The warnings, each once, in the order of finding."""
        self.upstreams: dict[str, Upstream] = {}
        self.cache_zones: dict[str, CacheZone] = {}
        self.limit_req_zones: dict[str, LimitReqZone] = {}
        self.limit_conn_zones: dict[str, LimitConnZone] = {}
        self.keyval_zones: dict[str, KeyvalZone] = {}
        self.keyvals: list[Keyval] = []
        self.sticky_zones: dict[str, str] = {}
        """The upstream of each zone of `sticky learn`."""
        self.matches: dict[str, Match] = {}
        self.cluster: Cluster | None = None
        self.otel: OtelExporter | None = None
        self.log_formats: dict[str, LogFormat] = {}
        self.log_buffers: dict[str, tuple[int, float, int]] = {}
        """The (size, flush, gzip) of the buffered access logs, by path."""
        self.sized_zones: set[str] = set()
        """The zones of upstreams that have a size."""
        self.unused: set[str] = set()
        """The families of settings without effect that were warned of."""
        self._reported: set[tuple[str, SourceLine]] = set()
        self._later: list[tuple[SourceLine, Callable[[], None]]] = []

    # --- faults -------------------------------------------------------------------------------------------------------------

    def fault(self, message: str, place: SourceLine) -> None:
        """Add a fault. The same message about the same line is reported once."""
        message = as_shown(message)
        if (message, place) in self._reported:
            return
        self._reported.add((message, place))
        self.faults.append(Fault(message, place.file, place.line or None))
        if len(self.faults) >= MAX_FAULTS:
            self.faults.append(
                Fault("too many faults, the rest of the configuration is not read", place.file, place.line or None)
            )
            raise TooManyFaults

    def warn(self, message: str, place: SourceLine) -> None:
        """Add a warning, which does not stop the start."""
        message = as_shown(message)
        line = f"{message} in {place.file}:{place.line}" if place.file else message
        self.warnings[line] = None

    def guarded(self, place: SourceLine, act: Callable[[], None], name: str = "") -> None:
        """Run `act`; its exceptions become faults of this line."""
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
        """Run `act` after the whole file is read."""
        self._later.append((place, act))

    def finish(self) -> None:
        """Run the checks that were postponed."""
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
        """Return the row for this statement in this block. If there is none, add a fault and return None."""
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
        """Return a new level inside `level` for a block, whose statements are not read yet."""
        inner = Level(kind, self, level, statement)
        level.inner.append(inner)
        return inner

    # --- helpers for converters ---------------------------------------------------------------------------------------------

    def compile(self, text: str) -> Template:
        """Return a text with $names as a function of an Exchange. Unknown names become faults of this line at the end."""
        return compile_text(text, self.names)

    def absolute(self, path: str, beside_configuration: bool = False) -> str:
        """Return an absolute path, under the prefix or the directory of the configuration file."""
        path = file_name(path)
        return os.path.join(os.path.dirname(self.path) if beside_configuration else self.prefix, path)


def as_shown(message: str) -> str:
    """Return a message that quotes the configuration (one character per byte) as one line of readable text."""
    if message.isascii() and message.isprintable():
        return message
    try:
        message = message.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        # The message holds a decoded file name, or bytes that are no UTF-8.
        pass
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], message)
