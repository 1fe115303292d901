"""Keeping a zone of files within its bounds: age since last use (`inactive`), bytes (`max_size`), free space (`min_free`).

One process sweeps at a time: whoever holds the sweep lock of the zone, until it ends or dies. A sweep walks the directories
lazily, with a pause after every few hundred files, and keeps no list: it adds up sizes and how many bytes were last used in
which minute, and if there are too many, a second walk removes what was last used before the minute that makes them fit.
So a store of a million entries costs a start nothing and a sweep no memory.

Between sweeps the size is an estimate (see `cacheshare`). A sweep is due when the estimate exceeds the bound, when space
runs out, when entries may have become inactive, and once after each start.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..fill import same_file
from .files import FileStorage

if TYPE_CHECKING:
    from ..zone import ZoneCache

logger = logging.getLogger("wsgi_proxy")

_BATCH: Final = 200
_PAUSE: Final = 0.01
# After a sweep for size the store is this full, so that the next is not due at once.
_FILL_TO: Final = 0.95
# Temporary files of the dead, and of fetches that were aborted hard.
_ORPHAN_AGE: Final = 60.0
_FULL_SWEEP_EVERY: Final = 300.0


def sweep_zone(zone: ZoneCache, now: float, pause: Callable[[float], None] = time.sleep) -> bool:
    """Bring a zone within its bounds if it is out of them and nobody else is at it; whether it did anything."""
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
    settings, share = zone.settings, zone.share
    if settings.max_size and share.size > settings.max_size:
        return True
    if settings.min_free and free_space(store.directory) < settings.min_free:
        return True
    return now - share.swept_at >= min(_FULL_SWEEP_EVERY, max(1.0, settings.inactive / 2)) or share.swept_at > now


def free_space(directory: str) -> int:
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
    # What came in while we walked may or may not have been counted; it is found by the next sweep.
    zone.share.swept(size, entries, now)
    excess = _excess(settings.max_size, settings.min_free, size, store)
    if excess > 0:
        size, entries = _shrink(zone, store, by_minute, size, entries, excess, pause)
        zone.share.swept(size, entries, now)
    _clear_fills(zone, now)
    if excess > 0:
        logger.info('cache zone "%s" was swept from %d to %d bytes', settings.name, before, size)


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
    """Remove at least ``excess`` bytes, the longest unused first, to the minute; within the last minute as they come."""
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
        # All of the older minutes go; of the last one only as much as is still needed.
        if minute > last or (minute == last and excess <= 0) or len(name) > 32:
            continue
        if _remove(zone, name, found):
            taken = store.on_disk(found.st_size)
            excess -= taken
            size -= taken
            entries -= 1
    return size, entries


def _remove(zone: ZoneCache, name: str, found: os.stat_result) -> bool:
    """Remove one entry unless it was used or replaced since it was seen."""
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
    """A temporary file beside the entries that its writer left."""
    if now - found.st_mtime > _ORPHAN_AGE:
        try:
            os.unlink(store.path(name[:32]) + name[32:])
        except FileNotFoundError:
            return


def _clear_fills(zone: ZoneCache, now: float) -> None:
    """Remove the files of flights without a leader."""
    try:
        flights = os.scandir(zone.fills)
    except FileNotFoundError:
        return  # an operator has removed the cache's directory
    with flights as found:
        for each in found:
            try:
                if now - each.stat().st_mtime < _ORPHAN_AGE:
                    continue
                fd = os.open(each.path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Since it was opened, the name may have gone to a flight that has a leader.
                if same_file(fd, each.path):
                    os.unlink(each.path)
            except (BlockingIOError, FileNotFoundError):
                continue
            finally:
                os.close(fd)
