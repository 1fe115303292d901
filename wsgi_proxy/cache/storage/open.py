"""From `proxy_cache_path` to an open zone: a folder, `memory`, `redis://…`, or a storage named as `my.package:thing`.

A `memory` zone is a folder in shared memory: the same code, the same bounds, shared by all workers of one server, sent by
sendfile. It is named after the server's arbiter and the place in the configuration, so it survives workers and reloads,
and is removed once its arbiter is dead. Zones in other storages have a folder there too, where the processes of this
machine meet.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...shm import segment
from ..zone import ZoneCache
from .directories import is_folder
from .entry import digest_of
from .generations import in_use

if TYPE_CHECKING:
    from ...config import CacheZone

# The names of shm.segment, for those whose arbiter is known by its pid.
_MEMORY: Final = re.compile(r"memory\.wsgi-proxy-(?P<family>\d+-\d+)-(?P<pid>\d+)-\d+-[0-9a-f]+")
_FORSAKEN_AFTER: Final = 60.0
_PLUGIN: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def open_zone(settings: CacheZone, prefix: str = "") -> ZoneCache:
    """The zone of a `proxy_cache_path`; OSError if its storage cannot be had."""
    path = settings.path
    if not is_folder(path):
        sweep_shared_memory()
    if path == "memory":
        return ZoneCache.in_folder(settings, private(memory_folder(settings)))
    if path.startswith(("redis://", "rediss://", "unix://")):
        from .redis import open_redis_zone

        return open_redis_zone(settings, private(meeting_folder(settings)))
    if _PLUGIN.fullmatch(path):
        from .plugin import open_plugin_zone

        return open_plugin_zone(settings, private(meeting_folder(settings)))
    return ZoneCache.in_folder(settings, os.path.join(prefix, path))


def memory_folder(settings: CacheZone) -> str:
    """Where a `memory` zone of this process's server lies."""
    return os.path.join(segment.directory(), "memory." + segment.file_name(f"{settings.place} {settings.name}"))


def meeting_folder(settings: CacheZone) -> str:
    """Where this machine's processes meet for a storage that is not in files."""
    return os.path.join(
        segment.directory(), f"meeting.wsgi-proxy-{os.geteuid()}-{digest_of(settings.name + ' ' + settings.path)[:16]}"
    )


def memory_zones(settings: CacheZone) -> Iterator[ZoneCache]:
    """A `memory` zone as every server of ours has it, for a command that is none of their processes."""
    digest = memory_folder(settings).rpartition("-")[2]
    for name in sorted(os.listdir(segment.directory())):
        if name.startswith("memory.wsgi-proxy-") and name.endswith("-" + digest):
            yield ZoneCache.in_folder(settings, private(os.path.join(segment.directory(), name)))


def sweep_shared_memory() -> None:
    """Remove the memory of servers of ours that are dead, and meeting folders that nobody has used for a while."""
    for name in os.listdir(segment.directory()):
        folder = os.path.join(segment.directory(), name)
        if name.startswith(f"meeting.wsgi-proxy-{os.geteuid()}-") and _forsaken(folder):
            shutil.rmtree(folder, ignore_errors=True)
    ours = _MEMORY.fullmatch("memory." + segment.file_name(""))
    for name in os.listdir(segment.directory()):
        match = _MEMORY.fullmatch(name)
        # Pids of another user or of another name space (a container's) mean other processes.
        if ours and match and match["family"] == ours["family"] and not _lives(int(match["pid"])):
            shutil.rmtree(os.path.join(segment.directory(), name), ignore_errors=True)


def _forsaken(folder: str) -> bool:
    """Whether no process has a folder open, and none just made it."""
    try:
        return time.time() - os.stat(folder).st_mtime > _FORSAKEN_AFTER and not in_use(folder)
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


def private(folder: str) -> str:
    """A folder that is ours alone, made if need be: in a place where everyone may write, a name proves nothing."""
    os.makedirs(folder, 0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} belongs to someone else")
    return folder
