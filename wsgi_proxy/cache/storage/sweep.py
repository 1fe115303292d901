"""Keeping a zone of files within its bounds: time since the last use (`inactive`), bytes (`max_size`), free space (`min_free`).

Rules:
- One process sweeps at a time: the one that holds the zone's sweep lock.
- A sweep walks the directories with a pause after every few hundred files and keeps no list. It adds up sizes, and the bytes that
  were last used in each minute. If there are too many bytes, a second walk removes the files last used before the minute that
  makes the rest fit. So a store of a million entries does not slow a start, and a sweep takes little memory.
- Between sweeps the size is an estimate (see `generations.py`). A sweep is due when the estimate exceeds the bound, when space
  runs out, when entries may have become inactive, and once after each start.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...logs import errorlog
from .files import FileStorage, same_file

if TYPE_CHECKING:
    from ..zone import ZoneCache

_BATCH: Final = 200
_PAUSE: Final = 0.01
# A sweep for size leaves the store this full, so that the next is not due at once.
_FILL_TO: Final = 0.95
# Seconds after which the temporary file of a dead process is removed.
_ORPHAN_AGE: Final = 60.0
_FULL_SWEEP_EVERY: Final = 300.0


def sweep_zone(zone: ZoneCache, now: float, pause: Callable[[float], None] = time.sleep) -> bool:
    """Bring a zone within its bounds; False if no sweep is due or another process is sweeping. OSError on failure."""
    store = zone.store
    if not isinstance(store, FileStorage):
        return False
    zone.renew()
    if not due(zone, store, now):
        return False
    fd = os.open(os.path.join(zone.share.directory, "sweep"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _sweep(zone, store, now, pause)
        return True
    finally:
        os.close(fd)


def due(zone: ZoneCache, store: FileStorage, now: float) -> bool:
    """Return True if a sweep is due at `now`, in seconds since 1970."""
    settings, share = zone.settings, zone.share
    if settings.max_size and share.size > settings.max_size:
        return True
    if settings.min_free and free_space(store.directory) < settings.min_free:
        return True
    return now - share.swept_at >= min(_FULL_SWEEP_EVERY, max(1.0, settings.inactive / 2)) or share.swept_at > now


def free_space(directory: str) -> int:
    """Return the free bytes of the directory's file system."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _sweep(zone: ZoneCache, store: FileStorage, now: float, pause: Callable[[float], None]) -> None:
    settings = zone.settings
    before = zone.share.size
    size = entries = number = 0
    by_minute: dict[int, int] = {}
    for number, (name, found) in enumerate(store.files(), 1):
        if number % _BATCH == 0:
            pause(_PAUSE)
        if now - found.st_mtime > settings.inactive:
            _remove(zone, name, found)
            continue
        if len(name) > 32:
            _remove_orphan(store, name, found, now)
            continue
        taken = store.on_disk(found.st_size)
        size += taken
        entries += 1
        minute = int(found.st_mtime // 60)
        by_minute[minute] = by_minute.get(minute, 0) + taken
    # Entries stored during the walk may be missing from the sum. The next sweep finds them.
    zone.share.swept(size, entries, now)
    excess = _excess(settings.max_size, settings.min_free, size, store)
    if excess > 0:
        size, entries = _shrink(zone, store, by_minute, size, entries, excess, pause)
        zone.share.swept(size, entries, now)
    _clear_fills(zone, now)
    if excess > 0:
        errorlog.line("info", f'cache zone "{settings.name}" was swept from {before} to {size} bytes')


def _excess(max_size: int, min_free: int, size: int, store: FileStorage) -> int:
    over = size - int(max_size * _FILL_TO) if max_size and size > max_size else 0
    short = min_free - free_space(store.directory) if min_free else 0
    return max(over, short)


def _shrink(
    zone: ZoneCache,
    store: FileStorage,
    by_minute: dict[int, int],
    size: int,
    entries: int,
    excess: int,
    pause: Callable[[float], None],
) -> tuple[int, int]:
    """Remove at least `excess` bytes, in the order of the minute of the last use, and return the bytes and entries left."""
    last, freed = 0, 0
    for minute in sorted(by_minute):
        last = minute
        freed += by_minute[minute]
        if freed >= excess:
            break
    for number, (name, found) in enumerate(store.files(), 1):
        if number % _BATCH == 0:
            pause(_PAUSE)
        minute = int(found.st_mtime // 60)
        # Entries of older minutes are removed; those of the last minute only as far as needed.
        if minute > last or (minute == last and excess <= 0) or len(name) > 32:
            continue
        if _remove(zone, name, found):
            taken = store.on_disk(found.st_size)
            excess -= taken
            size -= taken
            entries -= 1
    return size, entries


def _remove(zone: ZoneCache, name: str, found: os.stat_result) -> bool:
    """Remove one entry; False if it was used or replaced since it was seen."""
    store = zone.store
    assert isinstance(store, FileStorage)
    path = store.path(name[:32]) + name[32:]
    try:
        current = os.stat(path)
        if (current.st_ino, current.st_mtime) != (found.st_ino, found.st_mtime):
            return False
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        zone.fault("remove", error)
        return False
    return True


def _remove_orphan(store: FileStorage, name: str, found: os.stat_result, now: float) -> None:
    """Remove a temporary file that a dead process left beside the entries."""
    if now - found.st_mtime > _ORPHAN_AGE:
        try:
            os.unlink(store.path(name[:32]) + name[32:])
        except FileNotFoundError:
            return


def _clear_fills(zone: ZoneCache, now: float) -> None:
    """Remove the files of fills without a leader."""
    try:
        fills = os.scandir(zone.fills.path)
    except FileNotFoundError:
        return  # an operator has removed the cache's directory
    with fills as found:
        for each in found:
            try:
                if now - each.stat().st_mtime < _ORPHAN_AGE:
                    continue
                fd = os.open(each.path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Since it was opened, another fill, which has a leader, may have taken the name.
                if same_file(fd, each.path):
                    os.unlink(each.path)
            except (BlockingIOError, FileNotFoundError):
                continue
            finally:
                os.close(fd)
