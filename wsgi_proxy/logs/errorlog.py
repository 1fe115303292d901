"""The error log: nginx's lines, written through Python's logging.

Rules:
- One line per fault, in nginx's format, with the client, the request and the upstream, so that searches written for nginx work.
- Without a configuration file no handler is installed: the application configures the logger `wsgi_proxy`.
- A location with a separate `error_log` logs its requests only there, as in nginx.
- A log that cannot be written never fails a request. Its lines are lost.
- A renamed file is written to until `reopen` (USR1).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import syslog
from .logfile import LogFile

if TYPE_CHECKING:
    from ..exchange import Exchange

logger = logging.getLogger("wsgi_proxy")

LEVELS = {
    "debug": 10,
    "info": 20,
    "notice": 25,
    "warn": 30,
    "error": 40,
    "crit": 50,
    "alert": 55,
    "emerg": 60,
}
"""nginx's levels on Python's scale."""

_NAMES = {number: name for name, number in LEVELS.items()}
_SEVERITIES = {number: syslog.SEVERITIES.index(name) for name, number in LEVELS.items()}


class _Formatter(logging.Formatter):
    """`2026/11/23 07:00:00 [error] 123#0: message`."""

    def format(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelno, record.levelname.lower())
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}: {self.formatException(record.exc_info)}".replace("\n", " | ")
        return f"{stamp} [{level}] {os.getpid()}#0: {text}"


class _FileHandler(logging.Handler):
    """Write to a log file. Errors of the file are ignored."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = LogFile(os.fsencode(path).decode("latin-1"))
        self.file.open()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.file.write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            return

    def close(self) -> None:
        super().close()
        self.file.close()


class _SyslogHandler(logging.Handler):
    """Send to a syslog server, each line at its severity."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._sender = syslog.Sender(syslog.parse(text))

    def emit(self, record: logging.LogRecord) -> None:
        severity = _SEVERITIES.get(record.levelno, 3)
        self._sender.send_error(self.format(record).encode("utf-8", "backslashreplace"), severity)

    def close(self) -> None:
        super().close()
        self._sender.close()


class _StreamHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Write to standard error. A closed or full pipe is ignored."""

    def handleError(self, record: logging.LogRecord) -> None:
        return


Targets = tuple[tuple[str, str], ...]
"""(path, "stderr" or "syslog:…", level) for each `error_log` of one level of the configuration."""

_by_targets: dict[Targets, logging.Logger] = {}
"""The loggers of locations with a separate `error_log`, and the main logger."""


def setup(targets: Targets, prefix: str = "", places: Iterable[Targets] = ()) -> None:
    """Send the log to `targets`, and the lines of requests to their location's logs, one of `places`.

    Replaces the handlers of an earlier call. Raises OSError if a file cannot be opened, and then changes nothing.
    """
    main = targets or (("stderr", "error"),)
    made: dict[Targets, list[logging.Handler]] = {}
    try:
        for wanted in {main, *places}:
            made[wanted] = []
            for path, level in wanted:
                made[wanted].append(_handler(path, level, prefix))
    except OSError:
        for handler in [handler for handlers in made.values() for handler in handlers]:
            handler.close()
        raise
    for old in _loggers():
        for handler in list(old.handlers):
            if isinstance(handler.formatter, _Formatter):
                old.removeHandler(handler)
                handler.close()
    _use(logger, made.pop(main))
    _by_targets.clear()
    for wanted, handlers in made.items():
        _by_targets[wanted] = separate = logging.Logger(logger.name)
        _use(separate, handlers)
    # A location may name the same targets as the main context.
    _by_targets[main] = logger


def _handler(path: str, level: str, prefix: str) -> logging.Handler:
    handler: logging.Handler
    if path.startswith(syslog.PREFIX):
        handler = _SyslogHandler(path)
    elif path == "stderr":
        handler = _StreamHandler(sys.stderr)
    else:
        handler = _FileHandler(os.path.join(prefix, path))
    handler.setLevel(LEVELS[level])
    handler.setFormatter(_Formatter())
    return handler


def _use(log: logging.Logger, handlers: list[logging.Handler]) -> None:
    for handler in handlers:
        log.addHandler(handler)
    log.setLevel(min(handler.level for handler in handlers))
    log.propagate = False


def _loggers() -> set[logging.Logger]:
    return {logger, *_by_targets.values()}


def reopen(account: int | None = None) -> None:
    """Reopen the files by name and give them to the user ID `account`. A file that cannot be opened stays as it is."""
    for handler in [handler for log in _loggers() for handler in log.handlers]:
        if isinstance(handler, _FileHandler):
            path = handler.file.path
            try:
                handler.file.open(account)
            except OSError as error:
                line("emerg", f'open() "{path}" failed ({error.errno}: {error.strerror})')


def line(level: str, message: str, exchange: Exchange | None = None, upstream: str = "") -> None:
    """Write one line. With an exchange, append client and request as nginx does, and use the log of its location."""
    number = LEVELS[level]
    log = logger
    if exchange is not None and _by_targets:
        location = exchange.location_or_none
        if location is not None and location.core.error_log is not None:
            log = _by_targets.get(location.core.error_log, logger)
    if not log.isEnabledFor(number):
        return
    if exchange is not None:
        server = exchange.server.names[0] if getattr(exchange, "server", None) is not None else ""
        request = f"{exchange.method} {exchange.target} {exchange.protocol}"
        message = f'{message}, client: {exchange.remote_addr}, server: {server}, request: "{request}"'
        if upstream:
            message = f'{message}, upstream: "{upstream}"'
        host = exchange.environ.get("HTTP_HOST")
        if host:
            message = f'{message}, host: "{host}"'
    log.log(number, "%s", _printable(message))


def _printable(text: str) -> str:
    """Escape control characters, so that a client cannot write them to a log or a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02X}" for char in text)
