"""Directives that change the bodies of responses: ngx_http_sub_module."""

from __future__ import annotations

from . import values
from .filters import media_types
from .row import ALL, Bad, Level, Row, Statement, special, value


def _sub_filter(level: Level, statement: Statement) -> None:
    pattern, replacement = statement.args
    if not pattern:
        raise Bad("empty search pattern")
    level.own.setdefault("sub.pairs", []).append((level.template(pattern), level.template(replacement)))
    level.seen["sub.pairs"] = statement


ROWS: tuple[Row, ...] = (
    special("sub_filter", ALL, "TAKE2", _sub_filter, "sub.pairs"),
    value("sub_filter_last_modified", ALL, "FLAG", "sub.last_modified", values.flag("sub_filter_last_modified")),
    value("sub_filter_once", ALL, "FLAG", "sub.once", values.flag("sub_filter_once")),
    media_types("sub_filter_types", "sub.types", "text/html"),
)
