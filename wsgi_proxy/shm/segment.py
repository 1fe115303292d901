"""The file that workers share: how they find the same one without being told, and how those of the dead are swept.

Rules:
- It lies in /dev/shm (or the temporary folder) and is named after the arbiter (the process that forked us, else ourselves), the
  moment it started, the name space its pid means something in, our user, and a digest of what the caller gives as key.
- `WSGI_PROXY_ZONE` names another arbiter (a pid), or any other word to find each other by.
- Whoever uses a file holds a shared flock on it. One without is removed when its arbiter is dead, or our own: a reload left it.
- A file that is not a plain one of our own user is not opened: /dev/shm is everybody's.
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

_NAME = re.compile(r"wsgi-proxy-(?P<uid>\d+)-(?P<space>\d+)-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]+(\.more)?")


def arbiter() -> int:
    """The process all our fellow workers descend from: our parent when we were forked and not executed, else ourselves."""
    parent = os.getppid()
    if not forked_without_exec():
        return os.getpid()
    # A daemon's second fork leaves process 1 as parent; in a container process 1 may be the server itself, and then its workers
    # are of its session, which a daemon left.
    if parent == 1 and _session(1) != os.getsid(0):
        return os.getpid()
    return parent


def forked_without_exec() -> bool:
    """The kernel's own mark for it (PF_FORKNOEXEC, field 9 of proc_pid_stat(5)); without /proc: assume it."""
    fields = _stat_fields(os.getpid())
    return bool(int(fields[6]) & 0x40) if fields else True


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; empty when there is no such process or no /proc."""
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
    """The number of our process-id name space: /dev/shm may be shared with containers whose pids mean other processes."""
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


def file_name(key: str) -> str:
    """The name of the file for `key` in this process's family."""
    digest = hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
    word = os.environ.get("WSGI_PROXY_ZONE", "")
    pid = int(word) if word.isdigit() else arbiter()
    if word and not word.isdigit():
        return f"wsgi-proxy-{os.geteuid()}-{hashlib.blake2b(word.encode(), digest_size=10).hexdigest()}-{digest}"
    return f"wsgi-proxy-{os.geteuid()}-{_pid_space()}-{pid}-{_start_time(pid)}-{digest}"


def open_locked(path: Path) -> int:
    """A descriptor of the file with a shared flock, the sign that it is in use; PermissionError when it is not ours."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise PermissionError(f"{path} belongs to someone else")
        try:
            if os.stat(path).st_ino == status.st_ino:
                return fd
        except FileNotFoundError:
            pass  # swept between open and flock: make it again
        os.close(fd)


def sweep(where: Sequence[Path] = (), spare: Collection[str] = ()) -> list[Path]:
    """Remove the files that no process has open, of arbiters that are dead, or of our own; those gone.

    A file whose name is not by pid is left alone, as is every file of another user or name space, and those in `spare`."""
    gone = []
    names = {Path(path).name for path in spare}
    for path in [path for each in where or directories() for path in each.glob("wsgi-proxy-*")]:
        match = _NAME.fullmatch(path.name)
        if not match or int(match["uid"]) != os.geteuid() or int(match["space"]) != _pid_space():
            continue
        if path.name.removesuffix(".more") in names:
            continue
        pid = int(match["pid"])
        if _start_time(pid) == int(match["start"]) and pid != arbiter():
            continue
        if _remove_unused(path):
            gone.append(path)
    return gone


def unlink_files_of(pid: int) -> None:
    """Remove every file of one arbiter, for the arbiter itself to call when its last worker is gone; its workers may have
    been another user's."""
    for path in [path for where in directories() for path in where.glob(f"wsgi-proxy-*-{_pid_space()}-{pid}-*")]:
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue  # another user's process with the same number in a name space that cannot be told apart


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
    """The pid in a file's name; 0 when it has none."""
    match = _NAME.fullmatch(path.name)
    return int(match["pid"]) if match else 0
