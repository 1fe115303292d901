"""Limits of the rate of requests and of the number of connections."""

from __future__ import annotations

import re

from ...config import LimitConn, LimitConnZone, LimitReq, LimitReqZone
from . import values
from .cache import zone_of
from .cluster import require as require_cluster
from .row import ALL, Bad, BadValue, Level, Row, Statement, special, value

_LOG_LEVELS = ("info", "notice", "warn", "error")


def _limit_req_zone(level: Level, statement: Statement) -> None:
    key, *parameters = statement.args
    name, size, rate, sync = "", 0, 0, False
    if len(parameters) == 3 and "sync" not in parameters:
        raise Bad('invalid number of arguments in "limit_req_zone" directive')
    for parameter in parameters:
        if parameter == "sync":
            sync = True
            require_cluster(level, statement)
        elif parameter.startswith("zone="):
            name, size = zone_of(parameter, "zone size")
        elif parameter.startswith("rate="):
            found = re.fullmatch(r"rate=([0-9]+)r/([sm])", parameter)
            if found is None or not int(found[1]):
                raise Bad(f'invalid rate "{parameter}"')
            rate = int(found[1]) * 1000 // (60 if found[2] == "m" else 1)
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    if not name:
        raise Bad('"limit_req_zone" must have "zone" parameter')
    known = level.reading.limit_req_zones
    if name in known:
        raise Bad(f'limit_req_zone "{name}" is already bound to key "{key}"')
    # nginx's rate without `rate=` is one request per second.
    known[name] = LimitReqZone(name, level.template(key), size, rate or 1000, statement.place, sync)


def _limit_req(level: Level, statement: Statement) -> None:
    zone, burst, delay = "", 0, 0
    nodelay = False
    for parameter in statement.args:
        key, _, rest = parameter.partition("=")
        if key == "zone" and rest:
            zone = rest
        elif key in ("burst", "delay"):
            number = values.parse_number(rest)
            if number is None or (key == "burst" and not number):
                raise Bad(f'invalid {key} value "{parameter}"')
            burst, delay = (number, delay) if key == "burst" else (burst, number)
        elif parameter == "nodelay":
            nodelay = True
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    if not zone:
        raise Bad('"limit_req" must have "zone" parameter')
    known = level.own.setdefault("guard.limit_req", [])
    if any(limit.zone == zone for limit in known):
        raise BadValue("is duplicate")
    known.append(LimitReq(zone, burst, None if nodelay else delay))
    _later_known(level, zone, "limit_req_zones", statement)


def _limit_conn_zone(level: Level, statement: Statement) -> None:
    key, *parameters = statement.args
    sync = "sync" in parameters
    if len(parameters) == 2 and not sync:
        raise Bad('invalid number of arguments in "limit_conn_zone" directive')
    parameter = next((each for each in parameters if each != "sync"), "sync")
    if not parameter.startswith("zone="):
        raise Bad(f'invalid parameter "{parameter}"')
    name, size = zone_of(parameter, "zone size")
    if sync:
        require_cluster(level, statement)
    known = level.reading.limit_conn_zones
    if name in known:
        raise Bad(f'limit_conn_zone "{name}" is already bound to key "{key}"')
    known[name] = LimitConnZone(name, level.template(key), size, statement.place, sync)


def _limit_conn(level: Level, statement: Statement) -> None:
    zone, text = statement.args
    number = values.parse_number(text)
    if not number:
        raise Bad(f'invalid number of connections "{text}"')
    if number > 65535:
        raise Bad("connection limit must be less 65536")
    known = level.own.setdefault("guard.limit_conn", [])
    if any(limit.zone == zone for limit in known):
        raise BadValue("is duplicate")
    known.append(LimitConn(zone, number))
    _later_known(level, zone, "limit_conn_zones", statement)


def _later_known(level: Level, zone: str, zones: str, statement: Statement) -> None:
    def known() -> None:
        if zone not in getattr(level.reading, zones):
            raise Bad(f'zero size shared memory zone "{zone}"')

    level.reading.later(statement.place, known)


ROWS: tuple[Row, ...] = (
    special("limit_req_zone", "http", "TAKE34", _limit_req_zone),
    special("limit_req", ALL, "TAKE123", _limit_req, "guard.limit_req"),
    value("limit_req_status", ALL, "TAKE1", "guard.limit_req_status", values.between(400, 599)),
    value("limit_req_log_level", ALL, "TAKE1", "guard.limit_req_log_level", values.word(*_LOG_LEVELS)),
    value("limit_req_dry_run", ALL, "FLAG", "guard.limit_req_dry_run", values.flag("limit_req_dry_run")),
    special("limit_conn_zone", "http", "TAKE23", _limit_conn_zone),
    special("limit_conn", ALL, "TAKE2", _limit_conn, "guard.limit_conn"),
    value("limit_conn_status", ALL, "TAKE1", "guard.limit_conn_status", values.between(400, 599)),
    value("limit_conn_log_level", ALL, "TAKE1", "guard.limit_conn_log_level", values.word(*_LOG_LEVELS)),
    value("limit_conn_dry_run", ALL, "FLAG", "guard.limit_conn_dry_run", values.flag("limit_conn_dry_run")),
)
