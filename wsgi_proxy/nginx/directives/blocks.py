"""The blocks: `http`, `server`, `location`, `if`, `limit_except`. `freezing` computes the inherited settings."""

from __future__ import annotations

from typing import Any

from ...config import Listen
from ...routing import compile_condition
from ...variables import compile_regex
from .listen import default_listen, shown
from .row import Bad, BadValue, Level, Row, Statement, special

_OPERATORS = ("=", "!=", "~", "~*", "!~", "!~*")
_METHODS = frozenset("GET HEAD POST PUT DELETE MKCOL COPY MOVE OPTIONS PROPFIND PROPPATCH LOCK UNLOCK PATCH".split())


def _http(level: Level, statement: Statement) -> None:
    if "http" in level.seen:
        raise BadValue("is duplicate")
    level.seen["http"] = statement
    http = level.reading.enter(level, "http", statement)
    level.reading.walk(http, statement.block or ())
    _check_listens(http)


def _server(level: Level, statement: Statement) -> None:
    server = level.reading.enter(level, "server", statement)
    level.reading.walk(server, statement.block or ())
    _check_duplicates(server)


def _check_listens(http: Level) -> None:
    """Check that servers agree about the options of a shared address, and that a name at an address belongs to one server."""
    defaults: dict[Any, Listen] = {}
    names: set[tuple[Any, str]] = set()
    tuned: dict[Any, Listen] = {}
    for server in http.inner:
        for listen in server.own.get("server.listens") or (default_listen(),):
            where = listen.address
            if listen.default_server:
                if where in defaults:
                    http.reading.fault(f"a duplicate default server for {shown(listen)}", listen.place)
                defaults[where] = listen
            if listen.backlog != Listen.backlog or listen.reuseport:
                if where in tuned:
                    http.reading.fault(f"duplicate listen options for {shown(listen)}", listen.place)
                tuned[where] = listen
            found = list(server.own.get("server.names", ("",)))
            for number, name in enumerate(found):
                if (where, name) in names and not name.startswith("~"):
                    lines = server.lines.get(f"server_name {name}")
                    place = lines[found[:number].count(name)] if lines else server.place
                    http.reading.warn(f'conflicting server name "{name}" on {shown(listen)}, ignored', place)
                names.add((where, name))


# --- location ---------------------------------------------------------------------------------------------------------------


def _location(level: Level, statement: Statement) -> None:
    kind, pattern = _kind(statement.args)
    inner = level.reading.enter(level, "location", statement)
    inner.own["location.kind"], inner.own["location.pattern"] = kind, pattern
    if kind in ("~", "~*"):
        inner.own["location.regex"] = regex = compile_regex(pattern, kind == "~*")
        level.reading.names.declare_captures(regex)
    if level.kind == "location":
        _check_nesting(level, kind, pattern)
    level.reading.walk(inner, statement.block or ())
    _check_duplicates(inner)


def _kind(args: list[str]) -> tuple[str, str]:
    """Return (modifier, pattern). `location = /x` and `location =/x` are the same."""
    if len(args) == 2:
        if args[0] not in ("=", "^~", "~", "~*"):
            raise Bad(f'invalid location modifier "{args[0]}"')
        return args[0], args[1]
    text = args[0]
    for modifier in ("=", "^~", "~*", "~"):
        if text.startswith(modifier):
            return modifier, text[len(modifier) :]
    return ("@", text) if text.startswith("@") else ("", text)


def _check_nesting(outer: Level, kind: str, pattern: str) -> None:
    outer_kind, outer_pattern = outer.own["location.kind"], outer.own["location.pattern"]
    if outer_kind == "=":
        raise Bad(f'location "{pattern}" cannot be inside the exact location "{outer_pattern}"')
    if outer_kind == "@":
        raise Bad(f'location "{pattern}" cannot be inside the named location "{outer_pattern}"')
    if kind == "@":
        raise Bad(f'named location "{pattern}" can be on the server level only')
    if kind not in ("~", "~*") and not pattern.startswith(outer_pattern):
        raise Bad(f'location "{pattern}" is outside location "{outer_pattern}"')


def _check_duplicates(level: Level) -> None:
    seen: set[tuple[str, str]] = set()
    for inner in level.inner:
        if inner.kind != "location" or "location.kind" not in inner.own:
            continue
        kind, pattern = inner.own["location.kind"], inner.own["location.pattern"]
        if kind in ("~", "~*"):
            continue
        key = ("" if kind == "^~" else kind, pattern)
        if key in seen:
            level.reading.fault(f'duplicate location "{pattern}"', inner.place)
        seen.add(key)


# --- if, limit_except -------------------------------------------------------------------------------------------------------


def _if(level: Level, statement: Statement) -> None:
    args = list(statement.args)
    if not args[0].startswith("("):
        raise Bad(f'invalid condition "{args[0]}"')
    if not args[-1].endswith(")"):
        raise Bad(f'invalid condition "{args[-1]}"')
    args[0] = args[0][1:]
    args[-1] = args[-1][:-1]
    words = args[0 if args[0] else 1 : len(args) if args[-1] else -1]
    if not words:
        raise Bad('invalid condition ")"')
    if words[0].startswith("$") and len(words) > 1 and (len(words) != 3 or words[1] not in _OPERATORS):
        raise Bad(f'invalid condition "{words[0]}"')
    condition = compile_condition(words, level.reading.names)
    inner = level.reading.enter(level, f"if in {level.kind}", statement)
    level.script.append((condition, inner))
    level.reading.walk(inner, statement.block or ())


def _limit_except(level: Level, statement: Statement) -> None:
    methods = set()
    for method in statement.args:
        if method.upper() not in _METHODS:
            raise Bad(f'invalid method "{method}"')
        methods.add(method.upper())
    if "GET" in methods:
        methods.add("HEAD")
    inner = level.reading.enter(level, "limit_except", statement)
    if "location.limit_except" in level.own:
        raise BadValue("is duplicate")
    level.own["location.limit_except"] = (frozenset(methods), inner)
    level.reading.walk(inner, statement.block or ())


ROWS: tuple[Row, ...] = (
    special("http", "main", "BLOCK NOARGS", _http),
    special("server", "http", "BLOCK NOARGS", _server),
    special("location", "server, location", "BLOCK TAKE12", _location),
    special("if", "server, location", "BLOCK 1MORE", _if),
    special("limit_except", "location", "BLOCK 1MORE", _limit_except, "guard.limit_except"),
)
