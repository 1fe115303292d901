"""`health_check` and its `match` blocks (ngx_http_upstream_hc_module)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...config import HealthCheck, Match
from ...variables import compile_regex
from . import values
from .row import Bad, Level, Row, Statement, listed, special

Pairs = list[tuple[str, str]]


class StatusTest:
    """`status 200`, `status ! 500`, `status 200-399 301`."""

    __slots__ = ("_negated", "_ranges")

    def __init__(self, ranges: list[tuple[int, int]], negated: bool) -> None:
        self._ranges = ranges
        self._negated = negated

    def __call__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self._ranges) != self._negated


class HeaderTest:
    """`header Name`, `header ! Name`, `header Name = value`, `!=`, `~`, `!~`."""

    __slots__ = ("_name", "_negated", "_regex", "_value")

    def __init__(self, name: str, negated: bool, value: str | None = None, regex: re.Pattern[str] | None = None) -> None:
        self._name = name.lower()
        self._negated = negated
        self._value = value
        self._regex = regex

    def __call__(self, pairs: Pairs) -> bool:
        return any(self._fits(value) for name, value in pairs if name.lower() == self._name) != self._negated

    def _fits(self, value: str) -> bool:
        if self._regex is not None:
            return self._regex.search(value) is not None
        return self._value is None or self._value == value


class BodyTest:
    """`body ~ "text"` and `body !~ "text"`."""

    __slots__ = ("_negated", "_regex")

    def __init__(self, regex: re.Pattern[str], negated: bool) -> None:
        self._regex = regex
        self._negated = negated

    def __call__(self, body: bytes) -> bool:
        return (self._regex.search(body.decode("latin-1")) is not None) != self._negated


def _health_check(level: Level, args: list[str]) -> HealthCheck:
    settings: dict[str, Any] = {}
    for arg in args:
        key, equals, rest = arg.partition("=")
        found: Any = None
        if not equals:
            found = True if key in ("mandatory", "persistent") else None
        elif key in ("interval", "jitter", "keepalive_time"):
            found = values.parse_time(rest)
        elif key in ("fails", "passes", "port"):
            found = values.parse_number(rest) or None
        elif key in ("uri", "match"):
            found = rest or None
        if found is None:
            raise Bad(f'invalid parameter "{arg}"')
        settings[key] = found
    check = HealthCheck(**settings)
    if check.persistent and not check.mandatory:
        raise Bad('"health_check" with "persistent" needs "mandatory"')
    place = level.reading.names.place
    if check.persistent:
        effect = "after a reload, a server is used when its first check passes"
        level.reading.warn(f'parameter "persistent" of "health_check" has no effect: {effect}', place)

    def known() -> None:
        if check.match and check.match not in level.reading.matches:
            raise Bad(f'match "{check.match}" is not defined')
        target = level.own.get("proxy.pass_")
        if target is None or target.template is not None:
            raise Bad('"health_check" needs a "proxy_pass" without variables in its location')

    level.reading.later(place, known)
    return check


def _match(level: Level, statement: Statement) -> None:
    name = statement.args[0]
    if name in level.reading.matches:
        raise Bad(f'duplicate match "{name}"')
    status: StatusTest | None = None
    headers: list[Callable[[Pairs], bool]] = []
    body: BodyTest | None = None
    for inner in statement.block or ():
        if inner.block is not None or not inner.args:
            raise Bad(f'invalid number of arguments in "{inner.name}" directive')
        if inner.name == "status":
            status = _status(inner.args)
        elif inner.name == "header":
            headers.append(_header(inner.args))
        elif inner.name == "body":
            body = _body(inner.args)
        else:
            level.reading.fault(f'unknown directive "{inner.name}"', inner.place)
    level.reading.matches[name] = Match(name, status, tuple(headers), body)


def _status(args: list[str]) -> StatusTest:
    negated = args[0] == "!"
    ranges = []
    for text in args[negated:]:
        low, dash, high = text.partition("-")
        first, last = values.parse_number(low), values.parse_number(high if dash else low)
        if first is None or last is None:
            raise Bad(f'invalid status "{text}"')
        ranges.append((first, last))
    if not ranges:
        raise Bad('invalid number of arguments in "status" directive')
    return StatusTest(ranges, negated)


def _header(args: list[str]) -> HeaderTest:
    if len(args) == 1:
        return HeaderTest(args[0], False)
    if len(args) == 2 and args[0] == "!":
        return HeaderTest(args[1], True)
    if len(args) != 3 or args[1] not in ("=", "!=", "~", "!~"):
        raise Bad(f'invalid header test "{" ".join(args)}"')
    name, operator, text = args
    negated = operator.startswith("!")
    if operator.endswith("~"):
        return HeaderTest(name, negated, regex=compile_regex(text, False))
    return HeaderTest(name, negated, value=text)


def _body(args: list[str]) -> BodyTest:
    if len(args) != 2 or args[0] not in ("~", "!~"):
        raise Bad(f'invalid body test "{" ".join(args)}"')
    return BodyTest(compile_regex(args[1], False), args[0] == "!~")


ROWS: tuple[Row, ...] = (
    special("match", "http", "BLOCK TAKE1", _match),
    listed("health_check", "location", "ANY", "proxy.health_checks", _health_check),
)
