"""The reader of nginx.conf: the statements of all files, to which the table of directives gives their meaning.

Rules:
- `tokens` splits the text by crossplane's lexer, with nginx's rules where the two differ.
- `include` is resolved relative to the directory of the main file. Patterns are sorted, and a file never includes itself. A
  parameter file of nginx that does not exist is read from the package (`stock`).
- All faults are collected. ConfigError holds them in the order of files and lines.
"""

from __future__ import annotations

import gc
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from crossplane.analyzer import DIRECTIVES as _CROSSPLANE_KNOWS
from crossplane.errors import NgxParserBaseException

from ..config import Config, SourceLine
from ..errors import ConfigError, Fault
from ..http import file_name
from .directives import TABLE, build
from .directives.reading import Reading
from .directives.row import Statement
from .directives.unsupported import UNSUPPORTED
from .tokens import ended, fault_at, prepared, tokens

MAX_NESTING = 64
"""The largest depth of blocks and of includes. nginx stops when it runs out of stack or of open files."""
STOCK = os.path.join(os.path.dirname(__file__), "stock")
STOCK_FILES = frozenset({"mime.types", "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params"})
"""The files beside every nginx that the package has as well."""


Check = Callable[[Config], Iterable[Fault]]


def load(path: str, *, prefix: str = "", main: str = "", check: Check | None = None, own_process: bool = False) -> Config:
    """Return the configuration of a file. `prefix` is the directory of relative paths (nginx's -p), and `main` holds directives
    for the main context (nginx's -g).

    `check` returns the faults that only the machine can show: missing files, unknown hosts. It also gets the model of a file with
    faults, without the faulty statements, so that all faults are reported together. `own_process` is True if the configuration is
    run by the command, whose access log has a default place.

    Raise ConfigError with every fault of the file and of its includes. Names of servers are not resolved, see `unresolved`.
    """
    path = os.path.abspath(path)
    prefix = os.path.abspath(prefix) if prefix else os.path.dirname(path)
    files = _Files(path)
    with _collector_paused():
        return _build(files, files.read(path), prefix, main, check, own_process)


def loads(text: str, *, path: str = "nginx.conf", prefix: str = "", main: str = "") -> Config:
    """Return the configuration of a text, as if it were the file `path`, which need not exist. Errors as `load`."""
    path = os.path.abspath(path)
    prefix = os.path.abspath(prefix) if prefix else os.path.dirname(path)
    files = _Files(path)
    statements = files.parse(path, text.encode("utf-8", "surrogateescape"))
    return _build(files, statements, prefix, main)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause Python's cycle collector, which takes half of the time of reading a large configuration and finds nothing in it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def unresolved(config: Config) -> list[Fault]:
    """Return a fault, in nginx's words, for each upstream server whose name the system's resolver does not know now."""
    from .directives.resolving import unresolved_servers

    return unresolved_servers(config)


def _build(
    files: _Files,
    statements: list[Statement],
    prefix: str,
    main: str,
    check: Check | None = None,
    own_process: bool = False,
) -> Config:
    reading = Reading(TABLE, files.main, prefix, lambda name: name in _CROSSPLANE_KNOWS or name in UNSUPPORTED)
    reading.own_process = own_process
    if main:
        given = _Files(files.main)
        statements = given.parse("", main.encode("utf-8", "surrogateescape")) + statements
        files.faults[:0] = [Fault(f"{fault.message} in command line") for fault in given.faults]
    config = build(reading, statements, not files.faults)
    # A broken text ends its file, so the faults of the statements before it come first.
    faults = reading.faults + files.faults
    if check is not None:
        known = {str(fault) for fault in faults}
        faults += [fault for fault in check(config) if str(fault) not in known]
    if faults:
        order = {name: number for number, (name, _) in enumerate(files.texts)}
        raise ConfigError(*sorted(faults, key=lambda fault: (order.get(fault.file, -1), fault.line or 0)))
    return replace(config, files=tuple(files.texts), includes=tuple(dict.fromkeys(files.patterns)))


@dataclass
class _Files:
    """The files of one configuration, each once, and the faults of the files and their text."""

    main: str
    texts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    """The patterns of includes with wildcards."""
    _open: list[str] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)

    def read(self, path: str, included_at: SourceLine | None = None) -> list[Statement]:
        """Return the statements of a file, with its includes in their places."""
        where = included_at or SourceLine()
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            call = "pread" if isinstance(error, IsADirectoryError) else "open"
            message = f'{call}() "{path}" failed ({error.errno}: {error.strerror})'
            self.faults.append(Fault(message, where.file, where.line or None))
            return []
        return self.parse(path, data)

    def parse(self, path: str, data: bytes) -> list[Statement]:
        """Return the statements of a file's bytes."""
        if path not in self._read:
            self._read.add(path)
            self.texts.append((path, data.decode("utf-8", "surrogateescape")))
        zero = data.find(b"\0")
        if zero >= 0:
            self._fault("the file is no text: it has a zero byte", path, data.count(b"\n", 0, zero) + 1)
            return []
        self._open.append(path)
        try:
            return self._statements(path, prepared(data))
        finally:
            self._open.pop()

    def _fault(self, message: str, path: str, line: int) -> None:
        self.faults.append(Fault(message, path, line))

    def _statements(self, path: str, text: str) -> list[Statement]:
        """Return the statements of a text. A fault of the text ends the file, because nothing behind it can be read with
        certainty.
        """
        stack: list[list[Statement]] = [[]]
        words: list[str] = []
        line = 0
        try:
            for token in tokens(text, path):
                special = token.text if not token.quoted and token.text in ("{", "}", ";") else ""
                if not special:
                    if not words:
                        line = token.line
                    words.append(token.text)
                elif special == "}":
                    if words or len(stack) == 1:
                        raise fault_at('unexpected "}"', path, token.line)
                    stack.pop()
                elif not words:
                    raise fault_at(f'unexpected "{special}"', path, token.line)
                else:
                    self._take(stack, words, special == "{", path, line)
                    words = []
            end = text.count("\n") + 1
            if words:
                raise ended(path, end)
            if len(stack) > 1:
                raise fault_at('unexpected end of file, expecting "}"', path, end)
        except ConfigError as error:
            self.faults += error.faults
        except NgxParserBaseException as error:
            # Raised by crossplane for a block of Lua without an end.
            self._fault(error.strerror, path, error.lineno or line)
        return stack[0]

    def _take(self, stack: list[list[Statement]], words: list[str], opens: bool, path: str, line: int) -> None:
        """Add a complete statement to the innermost block. An `include` is replaced by the statements of its files."""
        name, *args = words
        if name == "include" and not opens:
            stack[-1] += self._include(args, path, line)
            return
        statement = Statement(name, args, path, line, [] if opens else None)
        stack[-1].append(statement)
        if statement.block is not None:
            if len(stack) > MAX_NESTING:
                raise fault_at(f"too many nested blocks, at most {MAX_NESTING} are read", path, line)
            stack.append(statement.block)

    def _include(self, args: list[str], path: str, line: int) -> list[Statement]:
        if len(args) != 1:
            self._fault('invalid number of arguments in "include" directive', path, line)
            return []
        pattern = os.path.join(os.path.dirname(self.main), file_name(args[0]))
        found = [pattern]
        if glob.has_magic(pattern):
            self.patterns.append(pattern)
            found = sorted(glob.glob(pattern))
        statements: list[Statement] = []
        for name in found:
            if os.path.abspath(name) in self._open:
                self._fault(f'"{name}" includes itself', path, line)
            elif len(self._open) > MAX_NESTING:
                self._fault(f"too many nested includes, at most {MAX_NESTING} are read", path, line)
            else:
                statements += self.read(_or_stock(os.path.abspath(name)), SourceLine(path, line))
        return statements


def _or_stock(path: str) -> str:
    """Return the path of a file to include: itself, or the package's file of that name if it does not exist."""
    name = os.path.basename(path)
    return os.path.join(STOCK, name + ".txt") if name in STOCK_FILES and not os.path.lexists(path) else path
