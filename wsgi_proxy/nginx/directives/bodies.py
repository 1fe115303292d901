"""Directives that change the bodies of responses: sub_filter, ssi, addition."""

from __future__ import annotations

from . import values
from .filters import media_types
from .row import ALL, IFS, Bad, BadValue, Level, Row, Statement, special, value


def _sub_filter(level: Level, statement: Statement) -> None:
    pattern, replacement = statement.args
    if not pattern:
        raise Bad("empty search pattern")
    level.own.setdefault("sub.pairs", []).append((level.template(pattern), level.template(replacement)))
    level.seen["sub.pairs"] = statement


def _ssi(level: Level, statement: Statement) -> None:
    if "ssi.enabled" in level.own:
        raise BadValue("is duplicate")
    level.own["ssi.enabled"] = values.flag_value("ssi", statement.args[0])
    level.own["ssi.lookup"] = level.reading.names.lookup


ROWS: tuple[Row, ...] = (
    special("sub_filter", ALL, "TAKE2", _sub_filter, "sub.pairs"),
    value("sub_filter_last_modified", ALL, "FLAG", "sub.last_modified", values.flag("sub_filter_last_modified")),
    value("sub_filter_once", ALL, "FLAG", "sub.once", values.flag("sub_filter_once")),
    media_types("sub_filter_types", "sub.types", "text/html"),
    special("ssi", IFS, "FLAG", _ssi, "ssi.enabled"),
    value("ssi_last_modified", ALL, "FLAG", "ssi.last_modified", values.flag("ssi_last_modified")),
    value("ssi_silent_errors", ALL, "FLAG", "ssi.silent_errors", values.flag("ssi_silent_errors")),
    value("ssi_value_length", ALL, "TAKE1", "ssi.value_length", values.size),
    media_types("ssi_types", "ssi.types", "text/html"),
    value("subrequest_output_buffer_size", ALL, "TAKE1", "core.subrequest_output_buffer_size", values.size),
    value("slice", ALL, "TAKE1", "core.slice", values.size),
    value("add_before_body", ALL, "TAKE1", "addition.before", values.text),
    value("add_after_body", ALL, "TAKE1", "addition.after", values.text),
    media_types("addition_types", "addition.types", "text/html"),
)
