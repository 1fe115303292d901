"""The instructions of ngx_http_rewrite_module, and the variables made by `map`, `geo` and `split_clients`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ...config import Break, Return, Set
from ...errors import ConfigError, Fault
from ...routing import compile_rewrite
from ...variables import compile_regex, maps
from . import values
from .row import Bad, Level, Row, Statement, special

if TYPE_CHECKING:
    from ...exchange import Exchange

_PLACES = "server, location, if in server, if in location"
_URL = re.compile(r"https?://|\$scheme")
_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)")


def variable(text: str) -> str:
    """Return the name of the variable that an argument declares."""
    found = _VARIABLE.fullmatch(text)
    if found is None:
        raise Bad(f'invalid variable name "{text}"')
    return found[1]


def _set(level: Level, statement: Statement) -> None:
    name = variable(statement.args[0])
    level.reading.names.declare_set(name)
    level.script.append(Set(name.lower(), level.template(statement.args[1])))


def _rewrite(level: Level, statement: Statement) -> None:
    pattern, replacement, *rest = statement.args
    flag = rest[0] if rest else ""
    if flag not in ("", "last", "break", "redirect", "permanent"):
        raise Bad(f'invalid parameter "{flag}"')
    regex = compile_regex(pattern, False)
    level.reading.names.declare_captures(regex)
    level.script.append(compile_rewrite(regex, replacement, flag, level.reading.names))


def _return(level: Level, statement: Statement) -> None:
    code, *rest = statement.args
    status = values.parse_number(code)
    if not rest and status is None and _URL.match(code):
        level.script.append(Return(302, level.template(code)))
        return
    if status is None or status > 999:
        raise Bad(f'invalid return code "{code}"')
    level.script.append(Return(status, level.template(rest[0]) if rest else None))


def _break(level: Level, statement: Statement) -> None:
    level.script.append(Break())


# --- variables defined by tables --------------------------------------------------------------------------------------------


Rows = list[tuple[str, list[str]]]
Made = TypeVar("Made")


def _built(statement: Statement, build: Callable[[Rows], Made]) -> Made:
    """Return the result of `build` for the lines of a block, as (first word, other words). A fault gets its line."""
    lines = statement.block or []
    for inner in lines:
        if inner.block is not None:
            raise ConfigError(Fault('unexpected "{"', inner.file, inner.line))
    rows = [(inner.name, inner.args) for inner in lines]
    try:
        return build(rows)
    except ConfigError:
        if not lines:
            raise
    # `build` knows no lines. The first line with which the block has a fault causes it.
    low, high = 0, len(lines) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            build(rows[: middle + 1])
            low = middle + 1
        except ConfigError:
            high = middle
    try:
        return build(rows[: low + 1])
    except ConfigError as error:
        raise ConfigError(*(Fault(fault.message, lines[low].file, lines[low].line) for fault in error.faults)) from None


def _define(level: Level, name: str, function: Callable[[Exchange], str]) -> None:
    level.reading.names.define(name, function)


def _map(level: Level, statement: Statement) -> None:
    source, target = statement.args
    name = variable(target)
    value, names = level.template(source), level.reading.names
    _define(level, name, _built(statement, lambda rows: maps.build_map(value, rows, names)))


def _geo(level: Level, statement: Statement) -> None:
    *source, target = statement.args
    name = variable(target)
    address = level.template("$" + variable(source[0])) if source else None
    geo = _built(statement, lambda rows: maps.build_geo(address, rows, level.reading.names))
    for warning in geo.warnings:
        level.reading.warn(warning, statement.place)
    _define(level, name, geo)


def _split_clients(level: Level, statement: Statement) -> None:
    source, target = statement.args
    name = variable(target)
    value, names = level.template(source), level.reading.names
    _define(level, name, _built(statement, lambda rows: maps.build_split_clients(value, rows, names)))


ROWS: tuple[Row, ...] = (
    special("set", _PLACES, "TAKE2", _set),
    special("rewrite", _PLACES, "TAKE23", _rewrite),
    special("return", _PLACES, "TAKE12", _return),
    special("break", _PLACES, "NOARGS", _break),
    special("map", "http", "BLOCK TAKE2", _map),
    special("geo", "http", "BLOCK TAKE12", _geo),
    special("split_clients", "http", "BLOCK TAKE2", _split_clients),
)
