"""`access_log` and `log_format`."""

from __future__ import annotations

import re
from typing import Any

from ...config import AccessLog, LogFormat, OpenLogFileCache
from ...logs import GZIP_SIZE
from ...logs import syslog as logs_syslog
from ...variables import compile_log
from . import values
from .reading import Reading
from .row import ALL, Bad, Level, Row, Statement, special, value

COMBINED = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'


JSON = (
    '{"time":"$time_iso8601","client":"$remote_addr","user":"$remote_user","method":"$request_method","host":"$host",'
    '"uri":"$request_uri","protocol":"$server_protocol","status":"$status","bytes":"$body_bytes_sent",'
    '"request_time":"$request_time","referer":"$http_referer","user_agent":"$http_user_agent","request_id":"$request_id",'
    '"traceparent":"$http_traceparent","upstream":"$upstream_addr","upstream_status":"$upstream_status",'
    '"upstream_time":"$upstream_response_time","cache":"$upstream_cache_status","limit_req":"$limit_req_status"}'
)
"""The format `json`, with all values as strings, because some are lists."""
_LAST_NAME = re.compile(r"\$(\w+)\Z", re.ASCII)
_READY = {"combined": (COMBINED, "default"), "json": (JSON, "json")}


def log_format(reading: Reading, name: str) -> LogFormat:
    """Return a format by its name; `combined` always exists, and `json` unless the configuration defines it."""
    known = reading.log_formats.get(name)
    if known is None:
        if name not in _READY:
            raise Bad(f'unknown log format "{name}"')
        text, escape = _READY[name]
        known = LogFormat(name, compile_log(text, reading.names, escape))
        if name == "combined":
            reading.log_formats[name] = known
    return known


def _log_format(level: Level, statement: Statement) -> None:
    name, *parts = statement.args
    reading = level.reading
    if name in reading.log_formats or name == "combined":
        raise Bad(f'duplicate "log_format" name "{name}"')
    escape = "default"
    if parts[0].startswith("escape="):
        escape = parts.pop(0)[7:]
    reading.log_formats[name] = LogFormat(name, compile_log(_joined(parts), reading.names, escape))


def _joined(parts: list[str]) -> str:
    """Return the text of a format. A variable's name ends with the part that it stands in."""
    return "".join([*(_LAST_NAME.sub(r"${\1}", part) for part in parts[:-1]), *parts[-1:]])


def syslog(text: str) -> str:
    """Return `syslog:…` after its check. Raises Bad in nginx's words."""
    try:
        server = logs_syslog.parse(text).server
    except ValueError as error:
        raise Bad(str(error)) from None
    try:
        logs_syslog.address(server)
    except ValueError as error:
        raise Bad(f'{error} in syslog server "{server}"') from None
    except (OSError, UnicodeError):
        raise Bad(f'host not found in syslog server "{server}"') from None
    return text


def _access_log(level: Level, statement: Statement) -> None:
    path, *parameters = statement.args
    logs: list[AccessLog] = level.own.setdefault("core.access_log", [])
    if path == "off":
        if parameters:
            raise Bad(f'invalid parameter "{parameters[0]}"')
        logs.clear()
        return
    sent = syslog(path) if path.startswith(logs_syslog.PREFIX) else ""
    found = log_format(level.reading, parameters.pop(0) if parameters else "combined")
    options = _options(level, parameters)
    if options["flush"] and not options["buffer"]:
        raise Bad(f'no buffer is defined for access_log "{path}"')
    if options["buffer"]:
        if "$" in path and not sent:
            raise Bad("buffered logs cannot have variables in name")
        if sent:
            raise Bad("logs to syslog cannot be buffered")
        _check_conflict(level, path, (options["buffer"], options["flush"], options["gzip"]))
    template = level.template("") if sent else values.path_template(level, path)
    logs.append(AccessLog(template, found, syslog=sent, **options))


def _options(level: Level, parameters: list[str]) -> dict[str, Any]:
    """Return `buffer`, `flush`, `gzip` and `condition` of an `access_log`."""
    found: dict[str, Any] = {"buffer": 0, "flush": 0.0, "gzip": 0, "condition": None}
    for parameter in parameters:
        name, equals, text = parameter.partition("=")
        if name == "buffer" and equals:
            found["buffer"] = values.parse_size(text)
            if not found["buffer"]:
                raise Bad(f'invalid buffer size "{text}"')
        elif name == "flush" and equals:
            found["flush"] = values.parse_time(text)
            if not found["flush"]:
                raise Bad(f'invalid flush time "{text}"')
        elif name == "gzip":
            found["buffer"] = found["buffer"] or GZIP_SIZE
            found["gzip"] = values.parse_number(text) if equals else 1
            if found["gzip"] not in range(1, 10):
                raise Bad(f'invalid compression level "{text}"')
        elif name == "if" and equals:
            found["condition"] = level.template(text)
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    return found


def _check_conflict(level: Level, path: str, options: tuple[int, float, int]) -> None:
    """Check that every buffered log of one file has the same buffer."""
    known = level.reading.log_buffers.setdefault(level.reading.absolute(path), options)
    if known != options:
        raise Bad(f'access_log "{path}" already defined with conflicting parameters')


def _open_files(level: Level, args: list[str]) -> OpenLogFileCache | None:
    if args == ["off"]:
        return None
    found: dict[str, Any] = {}
    for arg in args:
        name, _, text = arg.partition("=")
        if name in ("max", "min_uses"):
            found[name] = values.parse_number(text) or None
        elif name in ("inactive", "valid"):
            found[name] = values.parse_time(text, milliseconds=False)
        if found.get(name) is None:
            raise Bad(f'invalid "open_log_file_cache" parameter "{arg}"')
    if "max" not in found:
        raise Bad('"open_log_file_cache" must have "max" parameter')
    return OpenLogFileCache(found.pop("max"), **found)


ROWS: tuple[Row, ...] = (
    value("open_log_file_cache", ALL, "TAKE1234", "core.open_log_file_cache", _open_files),
    special(
        "access_log",
        "http, server, location, if in location, limit_except",
        "1MORE",
        _access_log,
        "core.access_log",
    ),
    special("log_format", "http", "2MORE", _log_format),
)
