"""`proxy_cache_path` and `proxy_cache_*`."""

from __future__ import annotations

import re
from typing import Any

from ...config import CacheZone, Template
from . import values
from .proxy import NEXT
from .row import ALL, Bad, Level, Row, Statement, listed, needs_package, special, summed, value

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
_SMALLEST = 2 * 4096
_LOADING = ("loader_files", "loader_sleep", "loader_threshold", "manager_files", "manager_sleep", "manager_threshold",
            "purger", "purger_files", "purger_sleep", "purger_threshold")  # fmt: skip


def zone_of(text: str, what: str, zone: str = "zone") -> tuple[str, int]:
    """Return name and bytes of `zone=name:size`. `what` begins nginx's message for a wrong size, `zone` that for a small one."""
    name, colon, size_text = text.partition("=")[2].partition(":")
    if not name:
        raise Bad(f'invalid {zone} name "{text}"')
    size = values.parse_size(size_text) if colon else None
    if size is None:
        raise Bad(f'invalid {what} "{text}"')
    if size < _SMALLEST:
        raise Bad(f'{zone} "{text}" is too small')
    return name, size


def _cache_path(level: Level, statement: Statement) -> None:
    path, *parameters = statement.args
    settings: dict[str, Any] = {}
    for parameter in parameters:
        settings.update(_path_parameter(parameter))
    if "name" not in settings:
        raise Bad('"proxy_cache_path" must have "keys_zone" parameter')
    name = settings["name"]
    if name in level.reading.cache_zones:
        raise Bad(f'duplicate zone "{name}"')
    if re.match(r"(rediss?|unix)://", path):
        needs_package("redis", statement.name, path)
    if path != "memory" and not re.match(r"rediss?://|unix://|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", path):
        path = level.reading.absolute(path)
    level.reading.cache_zones[name] = CacheZone(path=path, place=statement.place, **settings)


def _path_parameter(text: str) -> dict[str, Any]:
    key, _, rest = text.partition("=")
    if key == "keys_zone":
        name, size = zone_of(text, "keys zone size", "keys zone")
        return {"name": name, "size": size}
    if key == "levels":
        if re.fullmatch(r"[12](:[12]){0,2}", rest) is None:
            raise Bad(f'invalid "levels" "{text}"')
        return {"levels": tuple(int(width) for width in rest.split(":"))}
    if key == "inactive":
        found: Any = values.parse_time(rest, milliseconds=False)
    elif key in ("max_size", "min_free"):
        found = values.parse_size(rest, "kmg")
    elif key == "use_temp_path":
        if rest not in ("on", "off"):
            raise Bad(f'invalid use_temp_path value "{text}", it must be "on" or "off"')
        found = rest == "on"
    elif key in _LOADING:
        # These pace nginx's cache loader and manager. Here one sweeper paces itself.
        found = rest if key == "purger" else values.parse_number(rest) if key.endswith("files") else values.parse_time(rest)
        if found is None:
            raise Bad(f'invalid {key} value "{text}"')
        return {}
    else:
        raise Bad(f'invalid parameter "{text}"')
    if found is None:
        raise Bad(f'invalid {key} value "{text}"')
    return {key: found}


def _zone(level: Level, args: list[str]) -> Template | None:
    if args[0] == "off":
        return None
    name, place = args[0], level.reading.names.place

    def known() -> None:
        if name not in level.reading.cache_zones:
            raise Bad(f'zero size shared memory zone "{name}"')

    if "$" not in name:
        level.reading.later(place, known)
    return level.template(name)


def _valid(level: Level, args: list[str]) -> tuple[frozenset[int] | None, float]:
    *statuses, time = args
    seconds = values.parse_time(time, milliseconds=False)
    if seconds is None:
        raise Bad(f'invalid time value "{time}"')
    if not statuses:
        return frozenset({200, 301, 302}), seconds
    if "any" in statuses:
        return None, seconds
    found = set()
    for status in statuses:
        number = values.parse_number(status)
        if number is None or not 100 <= number <= 599:
            raise Bad(f'invalid status "{status}"')
        found.add(number)
    return frozenset(found), seconds


def _methods(level: Level, args: list[str]) -> frozenset[str]:
    found = {"GET", "HEAD"}
    for arg in args:
        if arg.upper() not in _METHODS:
            raise Bad(f'invalid value "{arg}"')
        found.add(arg.upper())
    return frozenset(found)


def _use_stale(level: Level, args: list[str]) -> frozenset[str]:
    found = values.words(*NEXT)(level, args)
    return frozenset() if "off" in found else found


def _conditions(name: str, target: str) -> Row:
    def act(level: Level, statement: Statement) -> None:
        level.own[target] = (*level.own.get(target, ()), *values.templates(level, statement.args))
        level.seen.setdefault(target, statement)

    return special(name, ALL, "1MORE", act, target)


ROWS: tuple[Row, ...] = (
    special(
        "proxy_cache_path",
        "http",
        "2MORE",
        _cache_path,
    ),
    value("proxy_cache", ALL, "TAKE1", "cache.zone", _zone),
    value("proxy_cache_key", ALL, "TAKE1", "cache.key", values.template),
    listed("proxy_cache_valid", ALL, "1MORE", "cache.valid", _valid),
    _conditions("proxy_cache_bypass", "cache.bypass"),
    _conditions("proxy_no_cache", "cache.no_cache"),
    _conditions("proxy_cache_purge", "cache.purge"),
    summed("proxy_cache_methods", ALL, "cache.methods", _methods, frozenset.union),
    value("proxy_cache_min_uses", ALL, "TAKE1", "cache.min_uses", values.number),
    summed("proxy_cache_use_stale", ALL, "cache.use_stale", _use_stale, values.either),
    value("proxy_cache_background_update", ALL, "FLAG", "cache.background_update", values.flag("proxy_cache_background_update")),
    value("proxy_cache_revalidate", ALL, "FLAG", "cache.revalidate", values.flag("proxy_cache_revalidate")),
    value("proxy_cache_lock", ALL, "FLAG", "cache.lock", values.flag("proxy_cache_lock")),
    value("proxy_cache_lock_timeout", ALL, "TAKE1", "cache.lock_timeout", values.time),
    value("proxy_cache_lock_age", ALL, "TAKE1", "cache.lock_age", values.time),
    value("proxy_cache_convert_head", ALL, "FLAG", "cache.convert_head", values.flag("proxy_cache_convert_head")),
    value("proxy_cache_max_range_offset", ALL, "TAKE1", "cache.max_range_offset", values.offset),
)
