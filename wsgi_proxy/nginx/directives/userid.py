"""ngx_http_userid_module: the cookie that tells clients apart."""

from __future__ import annotations

import re

from ...config import MAX_EXPIRES
from . import values
from .row import ALL, Bad, BadValue, Level, Row, Statement, special, summed, value

_FLAGS = ("off", "secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none")


def _enable(level: Level, statement: Statement) -> None:
    if "userid.enable" in level.own:
        raise BadValue("is duplicate")
    level.own["userid.enable"] = values.word("off", "log", "v1", "on")(level, statement.args)
    level.own["userid.reset"] = level.template("$uid_reset")


def _expires(level: Level, args: list[str]) -> float:
    if args[0] == "max":
        return MAX_EXPIRES
    return 0.0 if args[0] == "off" else values.whole_seconds(level, args)


def _mark(level: Level, args: list[str]) -> str:
    if args[0] == "off":
        return ""
    if not re.fullmatch(r"[0-9A-Za-z=]", args[0]):
        raise BadValue('value must be "off" or a single letter, digit or "="')
    return args[0]


def _unless_none(level: Level, args: list[str]) -> str:
    return "" if args[0] == "none" else args[0]


def _flags(level: Level, args: list[str]) -> frozenset[str]:
    for arg in args:
        if arg.lower() not in _FLAGS:
            raise Bad(f'invalid value "{arg}"')
    found = frozenset(arg.lower() for arg in args)
    return frozenset() if "off" in found else found


ROWS: tuple[Row, ...] = (
    special("userid", ALL, "TAKE1", _enable, "userid.enable"),
    value("userid_name", ALL, "TAKE1", "userid.name", values.text),
    value("userid_domain", ALL, "TAKE1", "userid.domain", _unless_none),
    value("userid_path", ALL, "TAKE1", "userid.path", values.text),
    value("userid_expires", ALL, "TAKE1", "userid.expires", _expires),
    summed("userid_flags", ALL, "userid.flags", _flags, values.either),
    value("userid_mark", ALL, "TAKE1", "userid.mark", _mark),
    value("userid_p3p", ALL, "TAKE1", "userid.p3p", _unless_none),
    value("userid_service", ALL, "TAKE1", "userid.service", values.number),
)
