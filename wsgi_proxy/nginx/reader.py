"""The reader of nginx.conf: crossplane splits the files into tokens, and the table of directives gives the statements their
meaning.

Rules:
- crossplane's lexer reads the text. `_prepared` and `_tokens` correct the cases in which it differs from nginx:
  * `${name}` outside quotes (crossplane reads on to the next blank) and a `}` inside a word (it ends the block) are masked;
  * only blank, tab, CR and LF are white space, and every byte survives;
  * text directly behind a closing quote is a fault, and so is a quote or a statement that is never closed.
- Text is converted to WSGI's form (one character per byte), and escapes are resolved once, as in nginx.
- `include` is resolved relative to the directory of the main file. Patterns are sorted, and a file never includes itself. A
  parameter file of nginx that does not exist is read from the package (`stock`).
- All faults are collected. ConfigError holds them in the order of files and lines.
"""

from __future__ import annotations

import gc
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import length_hint
from typing import NamedTuple

from crossplane.analyzer import DIRECTIVES as _CROSSPLANE_KNOWS
from crossplane.errors import NgxParserBaseException
from crossplane.lexer import _lex_file_object

from ..config import Config, SourceLine
from ..errors import ConfigError, Fault
from .directives import TABLE, build
from .directives.reading import Reading, as_path, as_shown
from .directives.row import Statement
from .directives.unsupported import UNSUPPORTED

MAX_NESTING = 64
"""The largest depth of blocks and of includes. nginx stops when it runs out of stack or of open files."""
STOCK = os.path.join(os.path.dirname(__file__), "stock")
STOCK_FILES = frozenset({"mime.types", "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params"})
"""The files beside every nginx that the package has as well."""
MAX_WORD = 4096
"""The largest argument in bytes, the size of nginx's buffer."""


# Text that crossplane reads differently from nginx, outside or inside quotes: an escaped `$`, a `}` behind an escape, `${`, a `}`
# that does not begin a word, and characters that are white space to Python only. They are masked by characters that no file
# contains, because bytes become U+0000 to U+007F and U+DC80 to U+DCFF.
_MASKED = re.compile(r"\\.\}*|\$\{+\}*|(?<=[^ \t\r\n;{}])\}+|[\x0b\x0c\x1c-\x1f]", re.DOTALL)
_MASK = 0xE000
_UNMASK = {_MASK + code: code for code in range(128)}
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_COMMENTS = re.compile(r"#[^\n]*(?:\n|\Z)")
_BEHIND_QUOTE = frozenset(" \t\r\n;{)")


class _Token(NamedTuple):
    text: str
    line: int
    quoted: bool


def load(path: str, *, prefix: str = "", main: str = "") -> Config:
    """Return the configuration of a file. `prefix` is the directory of relative paths (nginx's -p), and `main` holds directives
    for the main context (nginx's -g).

    Raise ConfigError with every fault of the file and of its includes. Names of servers are not resolved, see `unresolved`.
    """
    path = os.path.abspath(path)
    prefix = os.path.abspath(prefix) if prefix else os.path.dirname(path)
    files = _Files(path)
    with _collector_paused():
        return _build(files, files.read(path), prefix, main)


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


def _build(files: _Files, statements: list[Statement], prefix: str, main: str) -> Config:
    reading = Reading(TABLE, files.main, prefix, lambda name: name in _CROSSPLANE_KNOWS or name in UNSUPPORTED)
    if main:
        given = _Files(files.main)
        statements = given.parse("", main.encode("utf-8", "surrogateescape")) + statements
        files.faults[:0] = [Fault(f"{fault.message} in command line") for fault in given.faults]
    config = build(reading, statements, not files.faults)
    # A broken text ends its file, so the faults of the statements before it come first.
    faults = reading.faults + files.faults
    if faults:
        order = {name: number for number, (name, _) in enumerate(files.texts)}
        raise ConfigError(*sorted(faults, key=lambda fault: (order.get(fault.file, -1), fault.line or 0)))
    return replace(config, files=tuple(files.texts))


@dataclass
class _Files:
    """The files of one configuration, each once, and the faults of the files and their text."""

    main: str
    texts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
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
            return self._statements(path, _prepared(data))
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
            for token in _tokens(text, path):
                special = token.text if not token.quoted and token.text in ("{", "}", ";") else ""
                if not special:
                    if not words:
                        line = token.line
                    words.append(token.text)
                elif special == "}":
                    if words or len(stack) == 1:
                        raise _fault_at('unexpected "}"', path, token.line)
                    stack.pop()
                elif not words:
                    raise _fault_at(f'unexpected "{special}"', path, token.line)
                else:
                    self._take(stack, words, special == "{", path, line)
                    words = []
            end = text.count("\n") + 1
            if words:
                raise _ended(path, end)
            if len(stack) > 1:
                raise _fault_at('unexpected end of file, expecting "}"', path, end)
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
                raise _fault_at(f"too many nested blocks, at most {MAX_NESTING} are read", path, line)
            stack.append(statement.block)

    def _include(self, args: list[str], path: str, line: int) -> list[Statement]:
        if len(args) != 1:
            self._fault('invalid number of arguments in "include" directive', path, line)
            return []
        pattern = os.path.join(os.path.dirname(self.main), as_path(args[0]))
        found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
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


def _fault_at(message: str, path: str, line: int) -> ConfigError:
    return ConfigError(Fault(as_shown(message), path, line))


def _ended(path: str, line: int) -> ConfigError:
    """Return the fault of a text that ends within a statement. A text without a file is the command line's."""
    what = 'file, expecting ";" or "}"' if path else 'parameter, expecting ";"'
    return _fault_at(f"unexpected end of {what}", path, line)


def _prepared(data: bytes) -> str:
    """Return the text for crossplane: one character per byte, no white space that only Python knows, and masks over the text that
    it reads differently from nginx.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii", "surrogateescape")
    return _MASKED.sub(_mask, text)


def _mask(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] != "\\":
        return "".join(chr(_MASK + ord(char)) for char in found)
    # crossplane reads an escaped `$` before a `{` as a variable; it reads all other escapes correctly.
    escaped = chr(_MASK + ord("$")) if found[1] == "$" else found[1]
    return "\\" + escaped + "".join(chr(_MASK + ord(char)) for char in found[2:])


def _tokens(text: str, path: str) -> Iterator[_Token]:
    """Yield crossplane's tokens without comments, unmasked, unescaped, in WSGI's form."""
    # crossplane takes one character at a time from this iterator and never looks ahead, so the number of characters left gives
    # the end of the token.
    characters = iter(text)
    length = len(text)
    at = 0
    for token, line, quoted in _lex_file_object((characters,)):
        at = length - length_hint(characters)
        if len(token) > MAX_WORD - 2 and not token.startswith("#"):
            raise _fault_at(f'too long parameter "{_plain(token[:10])}..." started', path, line)
        if quoted:
            behind = text[at : at + 1]
            if behind and behind not in _BEHIND_QUOTE:
                raise _fault_at(f'unexpected "{_plain(behind)}"', path, text.count("\n", 0, at) + 1)
        elif token[:1] == "#":
            continue
        yield _Token(_plain(token), line, quoted)
    _check_end(text, at, path)


def _check_end(text: str, at: int, path: str) -> None:
    """Check the text behind the last token: crossplane silently drops an unclosed quote with the rest of the file."""
    rest = _COMMENTS.sub("", text[at:]).lstrip(" \t\r\n")
    if not rest:
        return
    line = text.count("\n", 0, text.index(rest[0], at)) + 1
    if len(rest) <= MAX_WORD:
        raise _ended(path, text.count("\n") + 1)
    if rest[0] in "\"'":
        raise _fault_at(f'too long parameter, probably missing terminating "{rest[0]}" character', path, line)
    raise _fault_at(f'too long parameter "{_plain(rest[:10])}..." started', path, line)


def _plain(token: str) -> str:
    """Return a token without masks and escapes."""
    if token.isascii():
        text = token
    else:
        text = token.translate(_UNMASK).encode("ascii", "surrogateescape").decode("latin-1")
    if "\\" in text:
        text = _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
    return text
