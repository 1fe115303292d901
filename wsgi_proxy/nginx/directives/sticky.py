"""`sticky`: sessions that stay with their server (ngx_http_upstream_module)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...config import Sticky, StickyLearn, StickyRoute, Template
from . import values
from .cluster import require as require_cluster
from .row import Bad, BadValue, Level, Row, Statement, special

if TYPE_CHECKING:
    from ...exchange import Exchange

_SMALLEST_ZONE = 8 * 4096


class SameSite:
    """The `samesite` attribute of the sticky cookie from a variable: none for an empty value, `strict` for an unknown one."""

    __slots__ = ("_value",)

    def __init__(self, value: Template) -> None:
        self._value = value

    def __call__(self, exchange: Exchange) -> str:
        value = self._value(exchange)
        return f"samesite={value if value.lower() in ('strict', 'lax', 'none') else 'strict'}" if value else ""


def _sticky(level: Level, statement: Statement) -> None:
    kind, *args = statement.args
    if "upstream.sticky" in level.own:
        raise BadValue("is duplicate")
    if kind == "cookie":
        level.own["upstream.sticky"] = _sticky_cookie(level, args)
    elif kind == "route":
        level.own["upstream.sticky"] = StickyRoute(tuple(_one_variable(level, each) for each in args))
    elif kind == "learn":
        level.own["upstream.sticky"] = _sticky_learn(level, statement, args)
    else:
        raise Bad(f'unknown parameter "{kind}"')


def _one_variable(level: Level, text: str) -> Template:
    if not re.fullmatch(r"\$\w+", text):
        raise Bad(f'invalid variable name "{text}"')
    return level.template(text)


def _sticky_learn(level: Level, statement: Statement, args: list[str]) -> StickyLearn:
    found: dict[str, Any] = {"create": (), "lookup": ()}
    for parameter in args:
        key, equals, rest = parameter.partition("=")
        if key in ("create", "lookup") and equals:
            if not rest.startswith("$"):
                raise BadValue(f'missing variable in the "{key}" parameter')
            found[key] += (_one_variable(level, rest),)
        elif key == "zone" and equals:
            found["zone"], colon, size = rest.partition(":")
            if not colon:
                raise BadValue("zone size is not specified")
            found["size"] = values.parse_size(size)
            if found["size"] is None:
                raise BadValue("invalid zone size")
            if found["size"] < _SMALLEST_ZONE:
                raise BadValue("zone is too small")
        elif key == "timeout" and equals:
            found["timeout"] = values.parse_time(rest)
            if not found["timeout"]:
                raise BadValue("invalid timeout")
        elif parameter == "header":
            found["header"] = True
        elif parameter == "sync":
            found["sync"] = True
            require_cluster(level, statement)
        else:
            raise Bad(f'unknown parameter "{parameter}"')
    upstream = level.statement.args[0] if level.statement else ""
    for key in ("create", "lookup", "zone"):
        if not found.get(key):
            raise BadValue(f'"{key}" parameter is not specified')
    user = level.reading.sticky_zones.setdefault(found["zone"], upstream)
    if user != upstream:
        raise Bad(f'sticky zone "{found["zone"]}" is already used in upstream "{user}"')
    return StickyLearn(**found, place=statement.place)


def _sticky_cookie(level: Level, args: list[str]) -> Sticky:
    name, *parameters = args
    expires: float | None = None
    path = ""
    domain: str | Template = ""
    flags: list[str | Template] = []
    for parameter in parameters:
        key, equals, rest = parameter.partition("=")
        if key == "expires" and equals:
            # nginx's value for `max`.
            expires = 10 * 365 * 86400.0 if rest == "max" else values.parse_time(rest, milliseconds=False)
            if expires is None:
                raise BadValue('invalid "expires" parameter value')
        elif key == "path" and equals:
            path = rest
        elif key == "domain" and equals:
            domain = level.template(rest) if "$" in rest else rest
        elif key == "samesite" and "$" in rest:
            flags.append(SameSite(level.template(rest)))
        elif parameter in ("httponly", "secure") or re.fullmatch(r"samesite=(strict|lax|none)", parameter):
            flags.append(parameter)
        else:
            raise Bad(f'unknown parameter "{parameter}"')
    return Sticky(name, expires, domain, path, tuple(flags))


ROWS: tuple[Row, ...] = (special("sticky", "upstream", "2MORE", _sticky, "upstream.sticky"),)
