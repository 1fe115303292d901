"""The places of the logs and of the pid file that a configuration does not name.

Rules:
- In the background the logs are `logs/error.log` and `logs/access.log` under the prefix. In the foreground messages go to
  standard error and the access log to standard output. The directory `logs` does not change this.
- The pid file is `logs/nginx.pid` under the prefix. If that cannot be written, it is in the temporary directory or in /dev/shm,
  under a name made of the user and the configuration. If these cannot be written either, there is none.
- Every user may write to these two directories, so a pid file there is trusted only if this user owns it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..shm import memory_directory

if TYPE_CHECKING:
    from ..config import Config

PID_FILE = "logs/nginx.pid"
TEMPORARY = ("/tmp", "/var/tmp")


def settled(config: Config, error_log: str = "", *, pid: bool = False) -> Config:
    """Return the configuration with the place of its error log, by default `error_log`; with `pid` that of its pid file, too."""
    main = config.main
    log = main.error_log
    if not log:
        place = error_log or (os.path.join(config.prefix, "logs", "error.log") if main.daemon else "stderr")
        log = ((place, "error"),)
    return replace(config, main=replace(main, error_log=log, pid=main.pid or (_writable_pid(config) if pid else "")))


def _pid_files(config: Config) -> list[str]:
    """Return the possible default paths of the pid file, the best first."""
    name = f"wsgi-proxy-{os.geteuid()}-{_digest(config)}.pid"
    elsewhere = [os.environ.get("TMPDIR", ""), *TEMPORARY, memory_directory() or ""]
    return [os.path.join(config.prefix, PID_FILE), *(os.path.join(each, name) for each in dict.fromkeys(elsewhere) if each)]


def _digest(config: Config) -> str:
    return hashlib.blake2b(f"{config.prefix}\0{config.path}".encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def _writable_pid(config: Config) -> str:
    return next((path for path in _pid_files(config) if _may_create(path)), "")


def _may_create(path: str) -> bool:
    """Return True if this process may write a file there. The directory of the logs may be missing."""
    directory = os.path.dirname(path)
    if not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    return os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)


def pid_file(config: Config) -> str:
    """Return the path of the pid file of a running server: of the possible ones the first that exists.

    Return the default path if there is none.
    """
    if config.main.pid:
        return os.path.join(config.prefix, config.main.pid)
    first, *others = _pid_files(config)
    if os.path.lexists(first):
        return first
    return next((path for path in others if _is_own_file(path)), first)


def is_in_use(config: Config) -> bool:
    """Return True if the process of the pid file lives, outside of the default place, whose directory cannot be written then."""
    path = pid_file(config)
    if config.main.pid or path == _pid_files(config)[0]:
        return False
    try:
        with open(path, encoding="latin-1") as file:
            os.kill(int(file.read(64)), 0)
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _is_own_file(path: str) -> bool:
    """Return True if the path is a regular file of this user."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def missing_worker(config: Config) -> str:
    """Return a message if the process of the pid file is gone or has no child, else "". Without /proc it is taken to have one."""
    path = pid_file(config)
    if not os.path.exists(path) or not os.path.exists("/proc/self/stat"):
        return ""
    with open(path, encoding="latin-1") as file:
        pid = file.read(64).strip()
    return "" if pid in _parents() else f'no worker: the main process "{pid}" of {path} has no child'


def _parents() -> set[str]:
    """Return the IDs of all processes that have children, from Linux's /proc."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of the program may have spaces and parentheses.
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:  # it has ended
            continue
        if state != "Z":
            found.add(parent)
    return found
