"""`keyval_zone` and `keyval` (ngx_http_keyval_module)."""

from __future__ import annotations

from typing import Any

from ...config import KeyvalZone
from ...keyval import KINDS, Keyval
from . import values
from .cache import zone_of
from .cluster import require as require_cluster
from .rewrite import variable
from .row import Bad, Level, Row, Statement, special


def _zone(level: Level, statement: Statement) -> None:
    settings: dict[str, Any] = {}
    for parameter in statement.args:
        key, equals, rest = parameter.partition("=")
        if parameter == "sync":
            settings["sync"] = True
            require_cluster(level, statement)
        elif key == "zone" and equals:
            settings["name"], settings["size"] = zone_of(parameter, "zone size")
        elif key == "timeout" and values.parse_time(rest):
            settings["timeout"] = values.parse_time(rest)
        elif key == "type" and rest in KINDS:
            settings["kind"] = rest
        elif key == "state" and rest:
            settings["state"] = level.reading.absolute(rest)
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    if "name" not in settings:
        raise Bad('"keyval_zone" must have "zone" parameter')
    zone = KeyvalZone(**settings, place=statement.place)
    if zone.name in level.reading.keyval_zones:
        raise Bad(f'duplicate zone "{zone.name}"')
    level.reading.keyval_zones[zone.name] = zone


def _keyval(level: Level, statement: Statement) -> None:
    key, target, parameter = statement.args
    name = variable(target)
    word, _, zone = parameter.partition("=")
    if word != "zone" or not zone:
        raise Bad(f'invalid parameter "{parameter}"')
    found = Keyval(level.template(key), zone)
    level.reading.keyvals.append(found)
    level.reading.names.define(name, found)

    def known() -> None:
        if zone not in level.reading.keyval_zones:
            raise Bad(f'zero size shared memory zone "{zone}"')

    level.reading.later(statement.place, known)


ROWS: tuple[Row, ...] = (
    special("keyval_zone", "http", "1MORE", _zone),
    special("keyval", "http", "TAKE3", _keyval),
)
