"""`access_log` and `log_format`."""

from __future__ import annotations

import re

from ...config import AccessLog, LogFormat
from ...variables import compile_log
from . import values
from .reading import Reading
from .row import Bad, Level, Row, Statement, special

COMBINED = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'


def log_format(reading: Reading, name: str) -> LogFormat:
    """Return a format by its name; `combined` always exists."""
    known = reading.log_formats.get(name)
    if known is None:
        if name != "combined":
            raise Bad(f'unknown log format "{name}"')
        known = reading.log_formats[name] = LogFormat(name, compile_log(COMBINED, reading.names))
    return known


def _log_format(level: Level, statement: Statement) -> None:
    name, *parts = statement.args
    reading = level.reading
    if name in reading.log_formats or name == "combined":
        raise Bad(f'duplicate "log_format" name "{name}"')
    escape = "default"
    if parts[0].startswith("escape="):
        escape = parts.pop(0)[7:]
    reading.log_formats[name] = LogFormat(name, compile_log("".join(parts), reading.names, escape))


def _access_log(level: Level, statement: Statement) -> None:
    path, *parameters = statement.args
    logs = level.own.setdefault("core.access_log", [])
    if path == "off":
        if parameters:
            raise Bad(f'invalid parameter "{parameters[0]}"')
        logs.clear()
        return
    if path.startswith("syslog:"):
        raise Bad('"syslog:" in "access_log" is not supported by wsgi_proxy')
    name = parameters.pop(0) if parameters and "=" not in parameters[0] and parameters[0] != "gzip" else "combined"
    condition = None
    for parameter in parameters:
        if parameter.startswith("if="):
            condition = level.template(parameter[3:])
        elif parameter == "gzip" or parameter.startswith("gzip="):
            raise Bad('the "gzip" parameter of "access_log" is not supported by wsgi_proxy')
        elif not _buffering(parameter):
            raise Bad(f'invalid parameter "{parameter}"')
        elif "$" in path:
            raise Bad("buffered logs cannot have variables in name")
    logs.append(AccessLog(values.path_template(level, path), log_format(level.reading, name), condition))


def _buffering(parameter: str) -> bool:
    """Return True for `buffer=` and `flush=`, which are accepted: each line is written at once."""
    found = re.fullmatch(r"(buffer|flush)=(.+)", parameter)
    if found is None:
        return False
    return (values.parse_size(found[2]) if found[1] == "buffer" else values.parse_time(found[2])) is not None


ROWS: tuple[Row, ...] = (
    special(
        "access_log",
        "http, server, location, if in location, limit_except",
        "1MORE",
        _access_log,
        "core.access_log",
    ),
    special("log_format", "http", "2MORE", _log_format),
)
