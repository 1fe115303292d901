"""The check, before a start, of the files and directories that the server writes: its pid file, logs and temporary directories.

Rules:
- The check writes nothing: it asks the kernel for permission. A read-only file system refuses root, too.
- `-t`, the start and a reload make the same check, so that a fault is reported before the process leaves the terminal.
- A directory of temporary files and of a cache is made at the start, and so are the parents of the pid file, and `logs` in the
  background. The directory of any other log must exist, as in nginx.
- Messages have nginx's form (ngx_init_cycle, ngx_create_paths).
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator

from ..config import Config, locations_of
from ..errors import ConfigError, Fault
from ..http import file_name
from ..logs import constant_paths, syslog
from ..shm import memory_directory
from .directories import directories_of

_STREAMS = frozenset({"/dev/stdout", "/dev/stderr"})


def faults_of(config: Config) -> list[Fault]:
    """Return a fault for each file or directory that a start needs and cannot write."""
    faults: list[Fault] = []
    logs = own_log_directory(config)
    if config.main.pid:
        faults += _check("open", os.path.join(config.prefix, config.main.pid), _file_error, True)
    for path in sorted(_log_files(config)):
        faults += _check("open", path, _file_error, os.path.dirname(path) == logs)
    for path in sorted(directories_of(config)):
        faults += _check("mkdir", path, _directory_error, True)
    return faults


def own_log_directory(config: Config) -> str:
    """Return the directory of the default logs if the start makes it, else "": only in the background a default log is there."""
    path = os.path.join(config.prefix, "logs")
    return path if config.main.daemon and any(os.path.dirname(log) == path for log in _log_files(config)) else ""


def make_log_directory(config: Config) -> None:
    """Make the directory of the default logs if the start needs it. Raises ConfigError."""
    path = own_log_directory(config)
    if not path:
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ConfigError(_fault("mkdir", path, error.errno or 0)) from error


def use_temporary_directory() -> None:
    """Let Python's `tempfile` use /dev/shm where no directory for temporary files can be written."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = memory_directory()


def _log_files(config: Config) -> set[str]:
    """Return the absolute paths of all logs that are files with a constant name."""
    locations = list(locations_of(config))
    targets = {config.main.error_log, *(at.core.error_log for at in locations if at.core.error_log is not None)}
    names = {path for target in targets for path, _ in target if path != "stderr" and not path.startswith(syslog.PREFIX)}
    paths = {os.path.join(config.prefix, name) for name in names}
    logs = (*config.core.access_log, *(log for at in locations for log in at.core.access_log))
    paths |= {file_name(path) for path in constant_paths(logs, config.prefix)}
    return paths - _STREAMS


def _check(call: str, path: str, error_of: Callable[[str, bool], int], makes_parents: bool) -> Iterator[Fault]:
    number = error_of(path, makes_parents)
    if number:
        yield _fault(call, path, number)


def _fault(call: str, path: str, number: int) -> Fault:
    return Fault(f'{call}() "{path}" failed ({number}: {os.strerror(number)})')


def _file_error(path: str, makes_parents: bool) -> int:
    """Return the number of the error that opening a file for writing would have, 0 for none."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return _directory_error(os.path.dirname(path), makes_parents)
    except OSError as error:
        return error.errno or errno.EIO
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    return _denial(path, os.W_OK)


def _directory_error(path: str, makes_parents: bool) -> int:
    """Return the number of the error that a new file in a directory would have, 0 for none."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        parent = os.path.dirname(path)
        return _directory_error(parent, True) if makes_parents and parent != path else errno.ENOENT
    except OSError as error:
        return error.errno or errno.EIO
    if not stat.S_ISDIR(mode):
        return errno.ENOTDIR
    return _denial(path, os.W_OK | os.X_OK)


def _denial(path: str, wanted: int) -> int:
    if os.access(path, wanted):
        return 0
    return errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
