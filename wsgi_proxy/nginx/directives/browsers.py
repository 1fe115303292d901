"""ngx_http_browser_module, and the browsers whose connections are not kept."""

from __future__ import annotations

from ...config import BROWSERS, UNLISTED, version_number
from . import values
from .row import ALL, Bad, BadValue, Level, Row, Statement, special, summed, value


def _modern(level: Level, statement: Statement) -> None:
    name, *versions = statement.args
    if not versions:
        if name != UNLISTED:
            raise BadValue("invalid value")
        item = (UNLISTED, 0)
    elif name.lower() not in BROWSERS:
        raise Bad(f'unknown browser name "{name}"')
    else:
        try:
            item = (name.lower(), version_number(versions[0]))
        except ValueError:
            raise Bad(f'invalid browser version "{versions[0]}"') from None
    level.own["core.modern_browsers"] = (*level.own.get("core.modern_browsers", ()), item)


def _ancient(level: Level, statement: Statement) -> None:
    level.own["core.ancient_browsers"] = (*level.own.get("core.ancient_browsers", ()), *statement.args)


ROWS: tuple[Row, ...] = (
    special("ancient_browser", ALL, "1MORE", _ancient, "core.ancient_browsers"),
    value("ancient_browser_value", ALL, "TAKE1", "core.ancient_browser_value", values.text),
    special("modern_browser", ALL, "TAKE12", _modern, "core.modern_browsers"),
    value("modern_browser_value", ALL, "TAKE1", "core.modern_browser_value", values.text),
    summed("keepalive_disable", ALL, "core.keepalive_disable", values.words("none", "msie6", "safari"), frozenset.union),
)
