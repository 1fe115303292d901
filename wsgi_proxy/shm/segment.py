"""The file of the shared memory: its name, by which all workers find it, and the removal of unused files.

Rules:
- The file lies in /dev/shm or the temporary directory. Its name contains the user, the PID namespace, the pid and start time of
  the arbiter, and a digest of the caller's key. The arbiter is the process that forked the workers; a process without one is its
  own arbiter.
- `WSGI_PROXY_ZONE` names another arbiter by its pid, or is any other word that the processes have in common.
- A process that uses a file holds a shared flock on it. A file without a lock is removed if its arbiter is dead, or is that of
  this process: a reload has left it. A file named `.kept` stays as long as its arbiter lives, with or without workers.
- Only regular files of the process's user are opened, because every user may write to /dev/shm.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

_NAME = re.compile(r"wsgi-proxy-(?P<uid>\d+)-(?P<space>\d+)-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]+(?P<kept>\.kept)?(\.more)?")


def arbiter() -> int:
    """Return the pid of the arbiter: the parent of a process that was forked without exec, else the process itself."""
    parent = os.getppid()
    if not forked_without_exec():
        return os.getpid()
    # A daemon's second fork leaves process 1 as the parent. In a container, process 1 may be the server itself. Its workers are
    # then in its session, which a daemon has left.
    if parent == 1 and _session(1) != os.getsid(0):
        return os.getpid()
    return parent


def forked_without_exec() -> bool:
    """Return the kernel's flag PF_FORKNOEXEC (proc_pid_stat(5), field 9); True without /proc."""
    fields = _stat_fields(os.getpid())
    return bool(int(fields[6]) & 0x40) if fields else True


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third; an empty list without the process or /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _start_time(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _pid_space() -> int:
    """Return the number of the PID namespace. /dev/shm may be shared with containers, where a pid is another process."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except FileNotFoundError:
        return 0


def memory_directory() -> str | None:
    """Return the directory of the file system in memory; None if there is none or this user may not write to it."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


def directory() -> str:
    """Return the directory for shared files: in memory if possible, else the temporary directory."""
    return memory_directory() or tempfile.gettempdir()


def directories() -> list[Path]:
    """Return every directory that may hold shared files: `directory()`, and the temporary directory, used when that is full."""
    return [Path(each) for each in dict.fromkeys((directory(), tempfile.gettempdir()))]


def file_name(key: str, kept: bool = False) -> str:
    """Return the name of the file for `key` under this process's arbiter; a `kept` file stays while no worker uses it."""
    return _file_name(key) + (".kept" if kept else "")


def _file_name(key: str) -> str:
    digest = hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
    word = os.environ.get("WSGI_PROXY_ZONE", "")
    pid = int(word) if word.isdigit() else arbiter()
    if word and not word.isdigit():
        return f"wsgi-proxy-{os.geteuid()}-{hashlib.blake2b(word.encode(), digest_size=10).hexdigest()}-{digest}"
    return f"wsgi-proxy-{os.geteuid()}-{_pid_space()}-{pid}-{_start_time(pid)}-{digest}"


def open_locked(path: Path) -> int:
    """Open a file with a shared flock and return its file descriptor. Raise PermissionError for another user's file."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise PermissionError(f"{path} belongs to another user")
        try:
            if os.stat(path).st_ino == status.st_ino:
                return fd
        except FileNotFoundError:
            pass  # removed between open and flock: create it again
        os.close(fd)


def sweep(where: Sequence[Path] = (), spare: Collection[str] = ()) -> list[Path]:
    """Remove the unused files of dead arbiters, and those of this process's arbiter that are not kept. Return their paths.

    Files that are not named by pid, those of another user or namespace, and those in `spare` stay.
    """
    gone = []
    names = {Path(path).name for path in spare}
    for path in [path for each in where or directories() for path in each.glob("wsgi-proxy-*")]:
        match = _NAME.fullmatch(path.name)
        if not match or int(match["uid"]) != os.geteuid() or int(match["space"]) != _pid_space():
            continue
        if path.name.removesuffix(".more") in names:
            continue
        pid = int(match["pid"])
        if _start_time(pid) == int(match["start"]) and (match["kept"] or pid != arbiter()):
            continue
        if _remove_unused(path):
            gone.append(path)
    return gone


def unlink_files_of(pid: int) -> None:
    """Remove every file of an arbiter.

    The arbiter calls it after its last worker has ended, which may have run as another user.
    """
    for path in [path for where in directories() for path in where.glob(f"wsgi-proxy-*-{_pid_space()}-{pid}-*")]:
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue  # a file of another user with the same pid, in an unknown namespace


def _remove_unused(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def arbiter_of(path: Path) -> int:
    """Return the pid in a file's name; 0 without one."""
    match = _NAME.fullmatch(path.name)
    return int(match["pid"]) if match else 0
