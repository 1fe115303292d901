"""Directives of the main and events contexts: processes, signals, the error log."""

from __future__ import annotations

import grp
import os
import pwd

from . import values
from .log import syslog
from .row import Bad, BadValue, Level, Row, Statement, accepted, special, value

LEVELS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
_METHODS = ("epoll", "poll", "select", "kqueue", "eventport", "/dev/poll")


def _worker_processes(level: Level, args: list[str]) -> int:
    if args[0] == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number = values.parse_number(args[0])
    if not number:
        raise BadValue("invalid value")
    return number


def _user(level: Level, statement: Statement) -> None:
    if "main.user" in level.own:
        raise BadValue("is duplicate")
    name, *rest = statement.args
    if os.geteuid() != 0:
        level.reading.warn(
            'the "user" directive makes sense only if the master process runs with super-user privileges, ignored',
            statement.place,
        )
    else:
        try:
            pwd.getpwnam(name)
        except KeyError:
            raise Bad(f'getpwnam("{name}") failed') from None
        try:
            grp.getgrnam(rest[0] if rest else name)
        except KeyError:
            raise Bad(f'getgrnam("{rest[0] if rest else name}") failed') from None
    level.own["main.user"] = name
    level.own["main.group"] = rest[0] if rest else name


def _error_log(level: Level, statement: Statement) -> None:
    path, *rest = statement.args
    severity = rest[0] if rest else "error"
    if severity.startswith("debug_"):
        severity = "debug"
    if severity not in LEVELS or len(rest) > 1:
        raise Bad(f'invalid log level "{severity}"')
    if path.startswith("memory:"):
        raise Bad('"memory:" in "error_log" is not supported by wsgi_proxy')
    if path.startswith("syslog:"):
        target = (syslog(path), severity)
    else:
        target = (path if path == "stderr" else level.reading.absolute(path), severity)
    if level.kind == "main":
        level.own.setdefault("main.error_log", []).append(target)
    else:
        level.own.setdefault("core.error_log", []).append(target)


def _use(level: Level, args: list[str]) -> None:
    if args[0] not in _METHODS:
        raise Bad(f'invalid event type "{args[0]}"')


def _events(level: Level, statement: Statement) -> None:
    if "events" in level.seen:
        raise BadValue("is duplicate")
    level.seen["events"] = statement
    assert statement.block is not None
    level.reading.walk(level.reading.enter(level, "events", statement), statement.block)


def _env(level: Level, statement: Statement) -> None:
    level.own.setdefault("main.env", []).append(statement.args[0])


def _master_process(level: Level, args: list[str]) -> None:
    if not values.flag_value("master_process", args[0]):
        level.reading.warn(
            '"master_process off" has no effect: gunicorn always has a master process and workers', level.reading.names.place
        )


def _load_module(level: Level, args: list[str]) -> None:
    """Accept a module, whose directives stop the start unless wsgi_proxy has them."""
    level.reading.warn(f'"load_module {args[0]}" has no effect: no module is loaded', level.reading.names.place)


ROWS: tuple[Row, ...] = (
    value("worker_processes", "main", "TAKE1", "main.worker_processes", _worker_processes),
    value("worker_connections", "events", "TAKE1", "main.worker_connections", values.number),
    value("worker_shutdown_timeout", "main", "TAKE1", "main.worker_shutdown_timeout", values.time),
    special("user", "main", "TAKE12", _user, "main.user"),
    value("pid", "main", "TAKE1", "main.pid", values.path),
    value("daemon", "main", "FLAG", "main.daemon", values.flag("daemon")),
    value("working_directory", "main", "TAKE1", "main.working_directory", values.path),
    value("wsgi_proxy_watch", "main", "FLAG", "main.watch", values.flag("wsgi_proxy_watch")),
    special("env", "main", "TAKE1", _env, "main.env"),
    special("error_log", "main, http, server, location", "1MORE", _error_log, "main.error_log"),
    special("events", "main", "BLOCK NOARGS", _events),
    accepted("use", "events", "TAKE1", "gevent chooses (epoll on Linux)", _use),
    accepted("multi_accept", "events", "FLAG", "a worker accepts as connections come"),
    accepted("accept_mutex", "events", "FLAG", "the kernel wakes a worker"),
    accepted("accept_mutex_delay", "events", "TAKE1", "the kernel wakes a worker", values.time),
    accepted("epoll_events", "events", "TAKE1", "libev sizes its lists", values.number),
    accepted("worker_aio_requests", "events", "TAKE1", "there is no asynchronous file access", values.number),
    accepted("debug_connection", "events", "TAKE1", "`error_log … debug` is for all connections"),
    accepted("master_process", "main", "FLAG", "there is always an arbiter; `off` gives a warning", _master_process),
    accepted("worker_rlimit_nofile", "main", "TAKE1", "set the limit where the service is started", values.number),
    accepted("worker_rlimit_core", "main", "TAKE1", "set the limit where the service is started", values.offset),
    accepted("worker_priority", "main", "TAKE1", "set it where the service is started"),
    accepted("worker_cpu_affinity", "main", "1MORE", "the kernel places the workers"),
    accepted("timer_resolution", "main", "TAKE1", "the clock is read when it is needed", values.time),
    accepted("thread_pool", "main", "TAKE23", "files are read by the worker itself"),
    accepted("lock_file", "main", "TAKE1", "no lock is needed between workers"),
    accepted("pcre_jit", "main", "FLAG", "regular expressions are Python's"),
    accepted("debug_points", "main", "TAKE1", "there are none"),
    accepted("load_module", "main", "TAKE1", "no module is loaded, which gives a warning", _load_module),
)
