"""Opening the zone of a `proxy_cache_path`, and the directories of zones.

Rules:
- `STORAGES` has a line for each kind of storage, tried in order. The last kind is a directory, relative to the prefix.
- A `memory` zone is a directory in shared memory, with the same code and bounds, shared by all workers of one server. It is named
  after the server's arbiter and the line of the configuration. So it survives workers and reloads, and is removed once its
  arbiter is dead.
- The other storages have a directory in shared memory as well, for the state that the processes of this machine share.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ...shm import segment
from .entry import digest_of
from .generations import in_use

if TYPE_CHECKING:
    from ...config import CacheZone
    from ..zone import ZoneCache

# The names of shm.segment whose arbiter is known by its pid.
_MEMORY: Final = re.compile(r"memory\.wsgi-proxy-(?P<family>\d+-\d+)-(?P<pid>\d+)-\d+-[0-9a-f]+")
_UNUSED_AFTER: Final = 60.0


def open_zone(settings: CacheZone, prefix: str = "") -> ZoneCache:
    """Return the zone of a `proxy_cache_path`. OSError if its storage is not available."""
    if is_directory(settings.path):
        return _open_files(settings, os.path.join(prefix, settings.path))
    sweep_shared_memory()
    for pattern, opener in STORAGES:
        if re.fullmatch(pattern, settings.path):
            return opener(settings)
    return _open_files(settings, os.path.join(prefix, settings.path))


def _open_files(settings: CacheZone, directory: str) -> ZoneCache:
    from ..zone import ZoneCache

    return ZoneCache.in_directory(settings, directory)


def _open_memory(settings: CacheZone) -> ZoneCache:
    return _open_files(settings, private(memory_directory(settings)))


def _open_redis(settings: CacheZone) -> ZoneCache:
    from .redis import open_redis_zone

    return open_redis_zone(settings, private(meeting_directory(settings)))


def _open_plugin(settings: CacheZone) -> ZoneCache:
    from .plugin import open_plugin_zone

    return open_plugin_zone(settings, private(meeting_directory(settings)))


STORAGES: Final[tuple[tuple[str, Callable[[CacheZone], ZoneCache]], ...]] = (
    (r"memory", _open_memory),
    (r"(redis|rediss|unix)://.*", _open_redis),
    (r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", _open_plugin),
)
"""(pattern of the whole path, function that opens the zone) of each kind of storage that is not a directory."""


def memory_directory(settings: CacheZone) -> str:
    """Return the directory of a `memory` zone of this process's server."""
    return os.path.join(segment.directory(), "memory." + segment.file_name(f"{settings.place} {settings.name}"))


def meeting_directory(settings: CacheZone) -> str:
    """Return the directory of the state that this machine's processes share, for a storage that is not in files."""
    digest = digest_of(settings.name + " " + settings.path)[:16]
    return os.path.join(segment.directory(), f"meeting.wsgi-proxy-{os.geteuid()}-{digest}")


def memory_zones(settings: CacheZone) -> Iterator[ZoneCache]:
    """Yield a `memory` zone once for each server of this user, for a command outside of all servers."""
    digest = memory_directory(settings).rpartition("-")[2]
    for name in sorted(os.listdir(segment.directory())):
        if name.startswith("memory.wsgi-proxy-") and name.endswith("-" + digest):
            yield _open_files(settings, private(os.path.join(segment.directory(), name)))


def sweep_shared_memory() -> None:
    """Remove the memory of this user's dead servers, and shared state that no process has used for a minute."""
    for name in os.listdir(segment.directory()):
        directory = os.path.join(segment.directory(), name)
        if name.startswith(f"meeting.wsgi-proxy-{os.geteuid()}-") and _unused(directory):
            shutil.rmtree(directory, ignore_errors=True)
    ours = _MEMORY.fullmatch("memory." + segment.file_name(""))
    for name in os.listdir(segment.directory()):
        match = _MEMORY.fullmatch(name)
        # The pids of another user or of another name space (a container's) belong to other processes.
        if ours and match and match["family"] == ours["family"] and not _lives(int(match["pid"])):
            shutil.rmtree(os.path.join(segment.directory(), name), ignore_errors=True)


def _unused(directory: str) -> bool:
    """Return True if no process has a directory open, or has just made it."""
    try:
        return time.time() - os.stat(directory).st_mtime > _UNUSED_AFTER and not in_use(directory)
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
    """Make a directory that only this user can read, and return it. PermissionError if another user made it."""
    os.makedirs(directory, 0o700, exist_ok=True)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} belongs to another user")
    return directory


def is_directory(path: str) -> bool:
    """Return True if a `proxy_cache_path` names a directory, and not another kind of storage."""
    return path.startswith("/") or (path != "memory" and ":" not in path)
