"""The access logs: one line for each request, written after its response.

Rules:
- Files are written through `logfile`: lines are not interleaved, and a renamed file is written to until `reopen` (USR1).
- A log that cannot be written never fails a request. The error log gets at most one line a minute about it.
- A file name may contain variables. The last 32 of those files stay open. A name that contains `..` is refused, because
  clients control variables.
Source: ngx_http_log_module.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import errorlog
from .logfile import LogFile

if TYPE_CHECKING:
    from ..config import AccessLog, Config, Template
    from ..exchange import Exchange

_SILENCE = 60.0
_KEPT_OPEN = 32


class _File:
    """A log file that reports its errors to the error log, at most once a minute."""

    __slots__ = ("_quiet_until", "file")

    def __init__(self, path: str) -> None:
        self.file = LogFile(path)
        self._quiet_until = 0.0

    def write(self, line: bytes) -> None:
        if self.file.handle < 0 and not self.open():
            return
        try:
            self.file.write(line)
        except OSError as error:
            self._complain("write() to", error)

    def open(self) -> bool:
        """Open or reopen the file. Return False if that fails."""
        try:
            self.file.open()
        except (OSError, ValueError) as error:
            self._complain("open()", error)
            return False
        return True

    def _complain(self, call: str, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _SILENCE
            number = getattr(error, "errno", None)
            reason = getattr(error, "strerror", None) or error
            errorlog.line("crit", f'{call} "{self.file.path}" failed ({number}: {reason})')


class _Log:
    """One `access_log` directive. `file` is None if the file name contains variables."""

    __slots__ = ("condition", "file", "format", "path")

    def __init__(self, log: AccessLog, file: _File | None) -> None:
        self.path: Template = log.path
        self.file = file
        self.format: Template = log.format.template
        self.condition = log.condition


def constant_paths(logs: Iterable[AccessLog], prefix: str) -> set[str]:
    """Return the paths of the logs whose names contain no variables."""
    names = (getattr(log.path, "constant", None) for log in logs)
    return {_join(prefix, name) for name in names if name is not None}


def _join(prefix: str, name: str) -> str:
    """Return a path in LogFile's form: the bytes on disk as latin-1 text."""
    return os.path.join(os.fsencode(prefix).decode("latin-1"), name)


class AccessLogs:
    """The access logs of one configuration in one process."""

    def __init__(self, config: Config) -> None:
        self._prefix = config.prefix
        self._default = config.core.access_log
        self._files: dict[str, _File] = {}
        self._variable_files: OrderedDict[str, _File] = OrderedDict()
        self._variable_lock = threading.Lock()
        # Keyed by the id of a location's tuple. The value keeps that tuple alive.
        self._logs: dict[int, tuple[tuple[AccessLog, ...], tuple[_Log, ...]]] = {}

    def write(self, exchange: Exchange) -> None:
        """Write a finished exchange to the access logs of its location."""
        location = exchange.location
        wanted = self._default if location is None else location.core.access_log
        if not wanted:
            return
        known = self._logs.get(id(wanted)) or self._prepare(wanted)
        for log in known[1]:
            if log.condition is not None and log.condition(exchange) in ("", "0"):
                continue
            line = log.format(exchange).encode("latin-1") + b"\n"
            if log.file is not None:
                log.file.write(line)
            else:
                self._write_variable(log.path(exchange), line)

    def _prepare(self, wanted: tuple[AccessLog, ...]) -> tuple[tuple[AccessLog, ...], tuple[_Log, ...]]:
        logs = []
        for log in wanted:
            constant = getattr(log.path, "constant", None)
            file = None
            if constant is not None:
                path = _join(self._prefix, constant)
                file = self._files.get(path)
                if file is None:
                    file = self._files[path] = _File(path)
            logs.append(_Log(log, file))
        prepared = (wanted, tuple(logs))
        self._logs[id(wanted)] = prepared
        return prepared

    def _write_variable(self, name: str, line: bytes) -> None:
        """Write to a file whose name contains variables."""
        path = _join(self._prefix, name)
        if ".." in path.split("/") or "\0" in path:
            errorlog.line("error", f'access log "{path}" is refused')
            return
        with self._variable_lock:
            file = self._variable_files.get(path)
            if file is None:
                file = self._variable_files[path] = _File(path)
                if len(self._variable_files) > _KEPT_OPEN:
                    self._variable_files.popitem(last=False)[1].file.close()
            else:
                self._variable_files.move_to_end(path)
            file.write(line)

    def reopen(self) -> None:
        """Reopen all files by name after a rotation."""
        for file in self._files.values():
            if file.file.handle >= 0:
                file.open()
        with self._variable_lock:
            while self._variable_files:
                self._variable_files.popitem()[1].file.close()

    def close(self) -> None:
        """Close all files. A later line reopens its file."""
        for file in self._files.values():
            file.file.close()
        self.reopen()
