"""The rows of the table of directives, and the levels on which their actions work.

Rules:
- A row names the blocks in which a directive is allowed, the number of its arguments (nginx's codes: TAKE1, TAKE12, FLAG, 1MORE
  …), their conversion, and the field of the model that they set.
- A `Level` is one block that is being read. `own` maps a field of the model ("proxy.read_timeout") to the value set at that
  level. The values in force are the parent's mapping updated by it, so that a level inherits a list only if it adds nothing to
  it, exactly
  as in nginx.
- A fault is raised as `Bad` in nginx's words. The caller adds the line and goes on with the next directive.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...config import SourceLine

if TYPE_CHECKING:
    from ...config import Template
    from .reading import Reading


class Bad(Exception):
    """A fault, in nginx's words."""


class BadValue(Bad):
    """A fault that nginx reports after the directive's name: `"proxy_read_timeout" directive invalid value`."""


def needs_package(package: str, name: str, address: str) -> None:
    """Raise Bad if a package that an address needs is not installed. `package` is also the name of the extra."""
    if find_spec(package) is None:
        scheme = address.partition(":")[0]
        raise Bad(f'"{name} {scheme}://" needs the package {package}: pip install "wsgi-proxy-nginx[{package}]"')


@dataclass(frozen=True)
class Statement:
    """One directive in a file. `block` is None if it ends with a semicolon.

    Text is in WSGI's form, one character per byte.
    """

    name: str
    args: list[str]
    file: str
    line: int
    block: list[Statement] | None = None

    @property
    def place(self) -> SourceLine:
        return SourceLine(self.file, self.line)


@dataclass(eq=False)
class Level:
    """One block that is being read: its settings, and the levels inside it.

    `kind` is "main", "events", "http", "server", "location", "if in server", "if in location", "limit_except" or "upstream".
    """

    kind: str
    reading: Reading
    parent: Level | None = None
    statement: Statement | None = None
    own: MutableMapping[str, Any] = field(default_factory=dict)
    script: list[Any] = field(default_factory=list)
    inner: list[Level] = field(default_factory=list)
    seen: MutableMapping[str, Statement] = field(default_factory=dict)
    """The statement that set each field, for faults that concern two directives."""
    lines: dict[str, list[SourceLine]] = field(default_factory=dict)
    """The line of each item of a list, by the directive's name; of each name of a server, by `server_name NAME`."""

    @property
    def place(self) -> SourceLine:
        return self.statement.place if self.statement else SourceLine()

    def template(self, text: str) -> Template:
        """Return the text with its $names compiled."""
        return self.reading.compile(text)

    def outer(self, kind: str) -> Level | None:
        """Return the nearest level of that kind, this one or one around it."""
        level: Level | None = self
        while level is not None and level.kind != kind:
            level = level.parent
        return level

    def in_force(self, target: str) -> Level | None:
        """Return the nearest level, this one or one around it, that sets a field; None if it has its default."""
        level: Level | None = self
        while level is not None and target not in level.own:
            level = level.parent
        return level

    def tree(self) -> Iterator[Level]:
        """Yield every level of the configuration, from the outermost on."""
        todo = [self]
        while todo[0].parent is not None:
            todo = [todo[0].parent]
        while todo:
            level = todo.pop()
            yield level
            todo += level.inner


Converter = Callable[[Level, list[str]], Any]
Action = Callable[[Level, Statement], None]


@dataclass(frozen=True)
class Row:
    """One directive.

    `contexts` are the names of blocks in nginx's documentation, joined by commas. `takes` is nginx's code for the arguments, with
    BLOCK in front for a directive that opens a block. `note` is given for a directive without effect: the behaviour here, in
    place of the directive's. `like` is the name of the `proxy_*` row that this one repeats for another module. The documentation
    of every other directive is in `reference.txt`.
    """

    name: str
    contexts: str
    takes: str
    act: Action
    target: str = ""
    note: str = ""
    like: str = ""

    @cached_property
    def places(self) -> frozenset[str]:
        """The blocks in which the directive is allowed."""
        return frozenset(self.contexts.split(", "))

    @cached_property
    def opens_block(self) -> bool:
        return self.takes.startswith("BLOCK ")

    @cached_property
    def counts(self) -> Container[int]:
        """The allowed numbers of arguments."""
        return _COUNTS[self.takes.removeprefix("BLOCK ")]


_MANY = range(1 << 20)
_COUNTS: dict[str, range | tuple[int, ...]] = {
    "NOARGS": (0,),
    "TAKE01": (0, 1),
    "TAKE012": (0, 1, 2),
    "TAKE1": (1,),
    "TAKE2": (2,),
    "TAKE3": (3,),
    "TAKE12": (1, 2),
    "TAKE13": (1, 3),
    "TAKE23": (2, 3),
    "TAKE34": (3, 4),
    "TAKE123": (1, 2, 3),
    "TAKE1234": (1, 2, 3, 4),
    "FLAG": (1,),
    "ANY": _MANY,
    "1MORE": _MANY[1:],
    "2MORE": _MANY[2:],
}


def value(name: str, contexts: str, takes: str, target: str, convert: Converter) -> Row:
    """Return a row that sets one field, once per level."""

    def act(level: Level, statement: Statement) -> None:
        if target in level.own:
            raise BadValue("is duplicate")
        level.own[target] = convert(level, statement.args)
        level.seen[target] = statement

    return Row(name, contexts, takes, act, target)


def summed(name: str, contexts: str, target: str, convert: Converter, add: Callable[[Any, Any], Any]) -> Row:
    """Return a row whose repetitions within a level add up, as nginx's bit masks and predicates do.

    A word that is given again is warned of.
    """

    def act(level: Level, statement: Statement) -> None:
        found = convert(level, statement.args)
        earlier = level.seen.get(target)
        if earlier is not None and target in level.own:
            found = add(level.own[target], found)
        words = earlier.args if earlier is not None else []
        for number, word in enumerate(statement.args):
            if word in words or word in statement.args[:number]:
                level.reading.warn(f'duplicate value "{word}"', statement.place)
        level.own[target] = found
        level.seen[target] = replace(statement, args=[*words, *statement.args])

    return Row(name, contexts, "1MORE", act, target)


def listed(name: str, contexts: str, takes: str, target: str, convert: Converter) -> Row:
    """Return a row that adds an item to a list. A level that adds none inherits the whole list."""

    def act(level: Level, statement: Statement) -> None:
        item = convert(level, statement.args)
        level.own.setdefault(target, []).append(item)
        level.seen[target] = statement
        level.lines.setdefault(statement.name, []).append(statement.place)

    return Row(name, contexts, takes, act, target)


def special(name: str, contexts: str, takes: str, act: Action, target: str = "") -> Row:
    """Return a row with a special action."""
    return Row(name, contexts, takes, act, target)


def accepted(name: str, contexts: str, takes: str, note: str, check: Converter | None = None) -> Row:
    """Return a row for a directive that changes no response here. The note gives the behaviour instead."""

    def act(level: Level, statement: Statement) -> None:
        if check is not None:
            check(level, statement.args)

    return Row(name, contexts, takes, act, "", note)


ALL = "http, server, location"
IFS = "http, server, location, if in location"
