"""The access logs: one line for each request, written after its response.

Rules:
- Files are written through `logfile`: lines are not interleaved, and a renamed file is written to until `reopen` (USR1).
- Lines of a buffered log are collected by `buffer`; a log may be sent to a server by `syslog`.
- A log that cannot be written never fails a request. The error log gets at most one line a minute about it.
- A file name may contain variables. Such a file is opened for each line, or kept open by `open_files`. A name that contains `..`
  is refused, because clients control variables.
Source: ngx_http_log_module.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..config import locations_of
from . import errorlog
from .buffer import LineBuffer
from .logfile import LogFile
from .open_files import OpenFiles
from .syslog import Sender, parse

if TYPE_CHECKING:
    from ..config import AccessLog, Config, OpenLogFileCache, Template
    from ..exchange import Exchange

_SILENCE: Final = 60.0


class _Silence:
    """The times at which a log may report its errors: at most once a minute."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def over(self) -> bool:
        """Return True if an error may be reported now; the next minute is then silent."""
        now = time.monotonic()
        if now < self._until:
            return False
        self._until = now + _SILENCE
        return True


class _File:
    """A log file that reports its errors to the error log, at most once a minute. `buffer` holds its lines, if it has one."""

    __slots__ = ("_silence", "buffer", "file")

    def __init__(self, path: str) -> None:
        self.file = LogFile(path)
        self.buffer: LineBuffer | None = None
        self._silence = _Silence()

    def add(self, line: bytes) -> None:
        """Write a line, or put it into the buffer."""
        if self.buffer is not None:
            self.buffer.add(line)
        else:
            self.write(line)

    def write(self, line: bytes) -> None:
        if self.file.handle < 0 and not self.open():
            return
        try:
            self.file.write(line)
        except OSError as error:
            _complain(self._silence, "write() to", self.file.path, error)

    def open(self) -> bool:
        """Open or reopen the file. Return False if that fails."""
        try:
            self.file.open()
        except (OSError, ValueError) as error:
            _complain(self._silence, "open()", self.file.path, error)
            return False
        return True


def _complain(silence: _Silence, call: str, path: str, error: Exception) -> None:
    """Log the failure of a call for a file, unless the log's errors are silent."""
    if silence.over():
        number = getattr(error, "errno", None)
        reason = getattr(error, "strerror", None) or error
        errorlog.line("crit", f'{call} "{path}" failed ({number}: {reason})')


class _Syslog:
    """A log that is sent to a syslog server, one message for each line."""

    __slots__ = ("_sender", "_silence")

    def __init__(self, text: str) -> None:
        self._sender: Any = Sender(parse(text))
        self._silence = _Silence()

    def add(self, line: bytes) -> None:
        """Send a line."""
        try:
            self._sender.send(line[:-1])
        except OSError as error:
            if self._silence.over():
                server = self._sender.destination.server
                errorlog.line("error", f'send() to syslog "{server}" failed ({error.errno}: {error.strerror or error})')

    def close(self) -> None:
        """Close the socket. A later line opens it again."""
        self._sender.close()


class _Log:
    """One `access_log` directive. `file` is None if the file name contains variables."""

    __slots__ = ("condition", "file", "format", "path")

    def __init__(self, log: AccessLog, file: _File | _Syslog | None) -> None:
        self.path: Template = log.path
        self.file = file
        self.format: Template = log.format.template
        self.condition = log.condition


def constant_paths(logs: Iterable[AccessLog], prefix: str) -> set[str]:
    """Return the paths of the logs whose names contain no variables."""
    names = (getattr(log.path, "constant", None) for log in logs if not log.syslog)
    return {_join(prefix, name) for name in names if name is not None}


def _join(prefix: str, name: str) -> str:
    """Return a path in LogFile's form: the bytes on disk as latin-1 text."""
    return os.path.join(os.fsencode(prefix).decode("latin-1"), name)


class AccessLogs:
    """The access logs of one configuration in one process."""

    def __init__(self, config: Config) -> None:
        self._prefix = config.prefix
        self._core = config.core
        self._files: dict[str, _File] = {}
        self._syslogs: dict[str, _Syslog] = {}
        self._open_files: dict[OpenLogFileCache, OpenFiles] = {}
        self._variable_lock = threading.Lock()
        self._silence = _Silence()
        # Keyed by the id of a location's tuple. The value keeps that tuple alive.
        self._logs: dict[int, tuple[tuple[AccessLog, ...], tuple[_Log, ...]]] = {}
        self._buffers: list[LineBuffer] = []
        for core in (config.core, *(location.core for location in locations_of(config))):
            for log in core.access_log:
                if log.buffer:
                    self._add_buffer(log)
        if self._buffers:
            # gunicorn's own workers end without a call of `close`.
            atexit.register(self.flush)

    @property
    def buffered(self) -> bool:
        """True if a log has a buffer, so that `flush_due` must be called from time to time."""
        return bool(self._buffers)

    def _add_buffer(self, log: AccessLog) -> None:
        constant = getattr(log.path, "constant", None)
        assert constant is not None
        file = self._file(constant)
        if file.buffer is None:
            file.buffer = LineBuffer(file.write, log.buffer, log.flush, log.gzip)
            self._buffers.append(file.buffer)

    def flush(self) -> None:
        """Write the lines of all buffers."""
        for buffer in self._buffers:
            buffer.flush()

    def flush_due(self) -> None:
        """Write the buffers whose oldest line has waited for `flush=`."""
        for buffer in self._buffers:
            buffer.flush_due()

    def write(self, exchange: Exchange) -> None:
        """Write a finished exchange to the access logs of its location."""
        location = exchange.location
        core = self._core if location is None else location.core
        wanted = core.access_log
        if not wanted:
            return
        known = self._logs.get(id(wanted)) or self._prepare(wanted)
        for log in known[1]:
            if log.condition is not None and log.condition(exchange) in ("", "0"):
                continue
            line = log.format(exchange).encode("latin-1") + b"\n"
            if log.file is not None:
                log.file.add(line)
            else:
                self._write_variable(log.path(exchange), line, core.open_log_file_cache)

    def _prepare(self, wanted: tuple[AccessLog, ...]) -> tuple[tuple[AccessLog, ...], tuple[_Log, ...]]:
        logs = []
        for log in wanted:
            constant = getattr(log.path, "constant", None)
            file: _File | _Syslog | None = None
            if log.syslog:
                file = self._syslogs.get(log.syslog)
                if file is None:
                    file = self._syslogs[log.syslog] = _Syslog(log.syslog)
            elif constant is not None:
                file = self._file(constant)
            logs.append(_Log(log, file))
        prepared = (wanted, tuple(logs))
        self._logs[id(wanted)] = prepared
        return prepared

    def _file(self, name: str) -> _File:
        path = _join(self._prefix, name)
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _File(path)
        return file

    def _write_variable(self, name: str, line: bytes, cache: OpenLogFileCache | None) -> None:
        """Write to a file whose name contains variables."""
        path = _join(self._prefix, name)
        if ".." in path.split("/") or "\0" in path:
            errorlog.line("error", f'access log "{path}" is refused')
            return
        try:
            if cache is None:
                file = LogFile(path)
                try:
                    file.write(line)
                finally:
                    file.close()
            else:
                with self._variable_lock:
                    if cache not in self._open_files:
                        self._open_files[cache] = OpenFiles(cache)
                    self._open_files[cache].write(path, line)
        except (OSError, ValueError) as error:
            _complain(self._silence, "open()", path, error)

    def reopen(self) -> None:
        """Write all buffers, and reopen all files by name after a rotation."""
        self.flush()
        for file in self._files.values():
            if file.file.handle >= 0:
                file.open()
        with self._variable_lock:
            for files in self._open_files.values():
                files.close()

    def close(self) -> None:
        """Write all buffers and close all files. A later line reopens its file."""
        self.flush()
        for file in self._files.values():
            file.file.close()
        for syslog in self._syslogs.values():
            syslog.close()
        self.reopen()
        atexit.unregister(self.flush)
