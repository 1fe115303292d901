"""One zone of `proxy_cache_path` in one process: its storage, the state shared by all processes, and copies in memory.

Rules:
- Every change is made here, under the lock of the key's slot: `commit` (a new entry), `refresh` (a validated one), `drop` (an
  outdated one) and `invalidate`.
- A response whose fetch began before an invalidation of its slot is not stored.
- A storage that fails costs a miss and a line in the error log, at most one a minute for each kind of fault and each log.
- Operators empty a cache by hand (`rm -rf store/*`, `rm -rf store`). A copy in memory serves only while its file exists. If the
  directory itself was removed or replaced, all copies are dropped and the state is shared anew (`renew`).
- The methods that take an `exchange` only use it to log a fault with its client and request, in its location's error log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from ..clocks import monotonic, wall_time
from ..config import CacheZone
from ..logs import errorlog
from . import purge
from .fill import Fill, FillDirectory
from .lookup import find
from .rfc9111 import Request
from .storage import (
    STATE_DIRECTORY,
    BrokenEntry,
    Entry,
    ErrorTier,
    FileStorage,
    MemoryTier,
    Share,
    Store,
    VaryIndex,
    digest_of,
    encode,
)

if TYPE_CHECKING:
    from ..exchange import Exchange

FILLS_DIRECTORY: Final = "fills"
_SAME_FAULT_EVERY: Final = 60.0
_MEMORY_MAX: Final = 32 * 1024 * 1024


@mypyc_attr(allow_interpreted_subclasses=True)
class ZoneCache:
    """A zone at work. `directory` holds the state shared by this machine's processes, whatever the storage is.

    With `remember` False, no copies are kept in this process's memory. OSError if the directory cannot be made or written.
    """

    def __init__(self, settings: CacheZone, store: Store, directory: str, *, remember: bool = True) -> None:
        self.settings = settings
        self.store = store
        self.share = Share(directory)
        self.fills = FillDirectory(os.path.join(directory, FILLS_DIRECTORY), self)
        self.memory = MemoryTier(min(settings.size, _MEMORY_MAX) if remember else 0)
        self.errors = ErrorTier()
        self.body_max = min(filter(None, (settings.max_size, store.body_max)), default=0)
        """The longest body that is stored, in bytes; 0 for no limit."""
        self._old: Share | None = None
        self._touch_every = min(60.0, settings.inactive / 4)
        self._faults: dict[tuple[str, object], float] = {}

    @classmethod
    def in_directory(cls, settings: CacheZone, directory: str) -> ZoneCache:
        """Return a zone of files in a directory. OSError if it cannot be made or written."""
        store = FileStorage(directory, settings.levels)
        return cls(settings, store, os.path.join(directory, STATE_DIRECTORY))

    # --- finding ------------------------------------------------------------------------------------------------------

    def find(self, key: str, request: Request, exchange: Exchange | None = None) -> tuple[Entry | None, str]:
        """Return (the entry that fits the request, or None; the name of the request's fill, or ""): see `lookup.find`."""
        return find(self, key, request, exchange)

    def load(self, name: str, exchange: Exchange | None = None) -> Entry | VaryIndex | None:
        """Return the entry or index of that name; None, and a line in the log, if it cannot be read."""
        try:
            return self.store.load(name)
        except BrokenEntry as error:
            errorlog.line("warn", f'cache zone "{self.settings.name}" has removed an entry: {error}', exchange)
        except OSError as error:
            self.fault("read", error, exchange)
        return None

    def fill_name(self, key: str, request: Request, entry: Entry | None) -> str:
        """Return the name by which concurrent requests for the same response meet."""
        return entry.fill_name if entry is not None else self.find(key, request)[1] or digest_of(key)

    def touch(self, entry: Entry, now: float, exchange: Exchange | None = None) -> None:
        """Note a use, rarely enough to be cheap and often enough that an entry in use never counts as inactive."""
        if now - entry.touched_at > self._touch_every:
            entry.touched_at = now
            try:
                self.store.touch(entry, now)
            except OSError as error:
                self.fault("touch", error, exchange)

    def renew(self) -> None:
        """Share the state anew if the cache's directory was removed. OSError if it cannot be made again."""
        if self.share.current():
            return
        fresh = Share(self.share.directory)
        self.fills.make()
        # Another greenlet may hold one of the old locks. Their files are closed with the next renewal or with the zone.
        old, self._old, self.share = self._old, self.share, fresh
        if old is not None:
            old.close()
        self.memory.clear()

    # --- changing -----------------------------------------------------------------------------------------------------

    def purged(self, key: str, exchange: Exchange | None = None) -> int:
        """Return the key's generation. It is taken before the upstream is asked, and given to `commit` and `refresh`."""
        return self.share.purged(Share.slot_of(digest_of(key)))

    def commit(self, entry: Entry, fill: Fill, purged: int, exchange: Exchange | None = None) -> bool:
        """Store a finished file as the entry; False if it was invalidated meanwhile or cannot be stored."""
        slot = Share.slot_of(entry.primary)
        try:
            with self.share.lock(slot):
                if self.share.purged(slot) != purged:
                    return False
                self._name(entry)
                size = self.store.adopt(fill, entry.name, self.keep_of(entry))
                self.share.changed(slot)
                self.share.stored(size)
        except OSError as error:
            self.fault("store", error, exchange)
            return False
        return True

    def _name(self, entry: Entry) -> None:
        """Name the entry after its key, or after its key's index and its selection if it varies."""
        if not entry.spec:
            entry.name = entry.primary
            return
        index = self.index_of(entry)
        if entry.spec not in index.specs[:1]:
            index = index.with_spec(entry.spec)
            self.store.put(entry.primary, encode(index), self.keep_of(entry))
        entry.name = index.name_of(entry.spec, entry.selection)

    def index_of(self, entry: Entry) -> VaryIndex:
        """Return the index of the entry's key as it is stored, or a new one. OSError if the storage fails."""
        try:
            found = self.store.load(entry.primary)
        except BrokenEntry:
            found = None
        return found if isinstance(found, VaryIndex) and found.key == entry.key else VaryIndex.fresh(entry.key)

    def keep_of(self, entry: Entry) -> float:
        """Return for how many seconds the entry can be of use."""
        f = entry.freshness
        return self.settings.inactive + max(0.0, f.left(wall_time())) + max(f.grace, f.error_grace)

    def refresh(self, entry: Entry, purged: int, exchange: Exchange | None = None) -> bool:
        """Store a validated entry's new head; False if it was replaced or invalidated meanwhile."""
        slot = Share.slot_of(entry.primary)
        try:
            with self.share.lock(slot):
                if self.share.purged(slot) != purged or not self.store.refresh(entry, self.keep_of(entry)):
                    return False
                self.share.changed(slot)
        except OSError as error:
            self.fault("store", error, exchange)
            return False
        return True

    def drop(self, entry: Entry, exchange: Exchange | None = None) -> None:
        """Remove an outdated entry. Running fetches may still store newer ones."""
        self.memory.forget(entry.key)
        try:
            self.remove(entry.primary, entry.name, invalidate=False)
        except OSError as error:
            self.fault("remove", error, exchange)

    def invalidate(self, key: str) -> bool:
        """Remove all entries of a key and keep running fetches from storing new ones; False if there were none.

        OSError if that cannot be done.
        """
        self.renew()
        primary = digest_of(key)
        self.memory.forget(key)
        self.errors.forget(key)
        return self.remove(primary, primary, invalidate=True)

    def remove(self, primary: str, name: str, *, invalidate: bool) -> bool:
        """Remove the entry of that name under the key of digest `primary`; False if there was none. OSError on failure."""
        slot = Share.slot_of(primary)
        mark = self.share.invalidated if invalidate else self.share.changed
        try:
            with self.share.lock(slot):
                # Marked twice: before, in case this process is killed in between; after, for a reader that saw the first mark
                # and still read the old file.
                mark(slot)
                try:
                    size = self.store.delete(name)
                finally:
                    mark(slot)
        except OSError:
            mark(slot)
            raise
        if size is not None:
            self.share.stored(-size)
        return size is not None

    def voided(self, target: str, exchange: Exchange | None = None) -> int:
        """Return how often the entries of a target were voided, under whatever key."""
        return self.share.voided(Share.slot_of(digest_of(target)))

    def void(self, target: str) -> None:
        """Void every entry of a target, under whatever key: each is compared with this count when it is found.

        A key may name a method, a cookie or a field, so it cannot be derived from the target. OSError on failure.
        """
        self.renew()
        slot = Share.slot_of(digest_of(target))
        with self.share.lock(slot):
            self.share.void(slot)

    @property
    def lists(self) -> bool:
        """True if the storage can list its entries."""
        return isinstance(self.store, FileStorage)

    def purge(self, wanted: Callable[[Entry], bool]) -> int:
        """Remove every entry for which `wanted` returns True, and return their number: see `purge.all_files`."""
        return purge.all_files(self, wanted)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that requests can still reach, directory by directory."""
        if not isinstance(self.store, FileStorage):
            return
        for name, _ in self.store.files():
            found = self.load(name)
            if not isinstance(found, Entry):
                continue
            if found.spec:
                index = self.load(found.primary)
                if not isinstance(index, VaryIndex) or index.name_of(found.spec, found.selection) != name:
                    continue
            yield found

    # --- the rest -----------------------------------------------------------------------------------------------------

    def wait_for_others(self, fill: Fill, key: str, patience: float, exchange: Exchange | None = None) -> None:
        """Wait until no other process is storing under the key, at most `patience` seconds; for leaders, before they ask.

        Storages for several machines wait here for a leader on another machine.
        """
        self.wait_for_commit(key, exchange)

    def wait_for_commit(self, key: str, exchange: Exchange | None = None) -> None:
        """Wait until no process of this machine is storing under the key.

        An entry that varies is stored in two steps, and its fill ends with the second.
        """
        try:
            with self.share.lock(Share.slot_of(digest_of(key))):
                return
        except OSError as error:
            self.fault("lock", error, exchange)

    def uses(self, key: str) -> int:
        """Count one more request for a key and return the count (proxy_cache_min_uses)."""
        return self.share.used(digest_of(key))

    def fault(self, what: str, error: OSError, exchange: Exchange | None = None) -> None:
        """Log that the storage failed to do `what`, once a minute for each kind of fault and each location's error log."""
        now = monotonic()
        location = exchange.location_or_none if exchange is not None else None
        kind = what, None if location is None else location.core.error_log
        last = self._faults.get(kind)
        if last is None or now - last >= _SAME_FAULT_EVERY:
            self._faults[kind] = now
            errorlog.line("error", f'cache zone "{self.settings.name}" cannot {what}: {error}', exchange)

    def close(self) -> None:
        """Close the files of the shared state."""
        self.share.close()
        if self._old is not None:
            self._old.close()
