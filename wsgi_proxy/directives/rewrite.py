"""ngx_http_rewrite_module's instructions, and the variables made by `map`, `geo` and `split_clients`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import maps
from ..config import Break, Return, Set
from ..patterns import compile_regex
from ..script import compile_rewrite
from . import values
from .row import Bad, Level, Row, Statement, special

if TYPE_CHECKING:
    from ..exchange import Exchange

_PLACES = "server, location, if in server, if in location"
_URL = re.compile(r"https?://|\$scheme")
_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)")


def variable(text: str) -> str:
    """The name of a variable that an argument introduces."""
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


# --- variables by tables ----------------------------------------------------------------------------------------------------


def _rows(level: Level, statement: Statement) -> list[tuple[str, list[str]]]:
    """The lines of the block as (first word, other words)."""
    rows = []
    for inner in statement.block or ():
        if inner.block is not None:
            raise Bad('unexpected "{"')
        rows.append((inner.name, inner.args))
    return rows


def _define(level: Level, name: str, function: Callable[[Exchange], str]) -> None:
    level.reading.names.define(name, function)


def _map(level: Level, statement: Statement) -> None:
    source, target = statement.args
    name = variable(target)
    function = maps.build_map(level.template(source), _rows(level, statement), level.reading.names)
    _define(level, name, function)


def _geo(level: Level, statement: Statement) -> None:
    *source, target = statement.args
    name = variable(target)
    address = level.template("$" + variable(source[0])) if source else None
    geo = maps.build_geo(address, _rows(level, statement), level.reading.names)
    for warning in geo.warnings:
        level.reading.warn(warning, statement.place)
    _define(level, name, geo)


def _split_clients(level: Level, statement: Statement) -> None:
    source, target = statement.args
    name = variable(target)
    _define(level, name, maps.build_split_clients(level.template(source), _rows(level, statement), level.reading.names))


ROWS: tuple[Row, ...] = (
    special("set", _PLACES, "TAKE2", _set),
    special("rewrite", _PLACES, "TAKE23", _rewrite),
    special("return", _PLACES, "TAKE12", _return),
    special("break", _PLACES, "NOARGS", _break),
    special("map", "http", "BLOCK TAKE2", _map, "", "`default`, `hostnames`, `volatile`, regular expressions, `include`"),
    special(
        "geo", "http", "BLOCK TAKE12", _geo, "", "networks, `ranges`, `default`, `delete`, `proxy`, `proxy_recursive`, `include`"
    ),
    special("split_clients", "http", "BLOCK TAKE2", _split_clients),
)
