"""From `proxy_cache_path` to an open zone: a directory, `memory`, `redis://…`, or a storage named as `my.package:thing`.

A `memory` zone is a directory in shared memory: the same code, the same bounds, shared by all workers of one server, sent by
sendfile. It is named after the server's arbiter and the place in the configuration, so it survives workers and reloads,
and is removed once its arbiter is dead. Zones in other storages have a directory there too, where the processes of this
machine meet.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ...shm import segment
from ..zone import ZoneCache
from .entry import digest_of
from .generations import in_use

if TYPE_CHECKING:
    from ...config import CacheZone

logger = logging.getLogger("wsgi_proxy")

# zone_file's names, for those whose arbiter is known by its pid.
_MEMORY: Final = re.compile(r"memory\.wsgi-proxy-(?P<family>\d+-\d+)-(?P<pid>\d+)-\d+-[0-9a-f]+")
_FORSAKEN_AFTER: Final = 60.0
_PLUGIN: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def open_zone(settings: CacheZone, prefix: str = "") -> ZoneCache:
    """The zone of a `proxy_cache_path`; OSError if its storage cannot be had."""
    path = settings.path
    if not is_directory(path):
        sweep_shared_memory()
    if path == "memory":
        return ZoneCache.in_directory(settings, private(memory_directory(settings)))
    if path.startswith(("redis://", "rediss://", "unix://")):
        from .redis import open_redis_zone

        return open_redis_zone(settings, private(meeting_directory(settings)))
    if _PLUGIN.fullmatch(path):
        from .plugin import open_plugin_zone

        return open_plugin_zone(settings, private(meeting_directory(settings)))
    return ZoneCache.in_directory(settings, os.path.join(prefix, path))


def memory_directory(settings: CacheZone) -> str:
    """Where a `memory` zone of this process's server lies."""
    return os.path.join(shared_memory(), "memory." + segment.file_name(f"{settings.place} {settings.name}"))


def meeting_directory(settings: CacheZone) -> str:
    """Where this machine's processes meet for a storage that is not in files."""
    return os.path.join(
        shared_memory(), f"meeting.wsgi-proxy-{os.geteuid()}-{digest_of(settings.name + ' ' + settings.path)[:16]}"
    )


def memory_zones(settings: CacheZone) -> Iterator[ZoneCache]:
    """A `memory` zone as every server of ours has it, for a command that is none of their processes."""
    digest = memory_directory(settings).rpartition("-")[2]
    for name in sorted(os.listdir(shared_memory())):
        if name.startswith("memory.wsgi-proxy-") and name.endswith("-" + digest):
            yield ZoneCache.in_directory(settings, private(os.path.join(shared_memory(), name)))


def sweep_shared_memory() -> None:
    """Remove the memory of servers of ours that are dead, and meeting directories that nobody has used for a while."""
    for name in os.listdir(shared_memory()):
        directory = os.path.join(shared_memory(), name)
        if name.startswith(f"meeting.wsgi-proxy-{os.geteuid()}-") and _forsaken(directory):
            shutil.rmtree(directory, ignore_errors=True)
    ours = _MEMORY.fullmatch("memory." + segment.file_name(""))
    for name in os.listdir(shared_memory()):
        match = _MEMORY.fullmatch(name)
        # Pids of another user or of another name space (a container's) mean other processes.
        if ours and match and match["family"] == ours["family"] and not _lives(int(match["pid"])):
            shutil.rmtree(os.path.join(shared_memory(), name), ignore_errors=True)


def _forsaken(directory: str) -> bool:
    """Whether no process has a directory open, and none just made it."""
    try:
        return time.time() - os.stat(directory).st_mtime > _FORSAKEN_AFTER and not in_use(directory)
    except FileNotFoundError:
        return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def private(directory: str) -> str:
    """A directory that is ours alone, made if need be: in a place where everyone may write, a name proves nothing."""
    os.makedirs(directory, 0o700, exist_ok=True)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} belongs to someone else")
    return directory


def shared_memory() -> str:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else tempfile.gettempdir()


def make_directories(zones: Iterable[CacheZone], prefix: str = "", account: tuple[int, int] | None = None) -> None:
    """Make the directory of each zone that lies in one; ``account`` is the (uid, gid) that it is for, None for our own."""
    for settings in zones:
        if not is_directory(settings.path):
            continue
        path = os.path.join(prefix, settings.path)
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            if account is not None and os.stat(path).st_uid != account[0]:
                os.chown(path, *account)
        except OSError as error:
            logger.error('mkdir() "%s" failed (%s: %s)', path, error.errno, error.strerror)


def is_directory(path: str) -> bool:
    """Whether a `proxy_cache_path` names a directory, and not another kind of storage."""
    return path.startswith("/") or (path != "memory" and ":" not in path)
