"""One zone of `proxy_cache_path` in one process: its storage, what the processes share of it, and a copy in memory in front.

Every change goes through here, under the lock of the key's slot: a new answer (`commit`), a validated one (`refresh`), a
removed one (`drop`) and an invalidation (`invalidate`). An answer whose fetch began before an invalidation of its slot
is not stored. A storage that fails costs a miss and a line in the log, at most one a minute for each kind of fault.

Operators empty a cache by hand (`rm -rf store/*`, `rm -rf store`). A copy in memory serves only while its file is there, and
where the directory itself was removed or replaced everything in memory is forgotten and the directory shared anew (`renew`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from ..config import CacheZone
from .fill import Fill, Follower, join, private_fill
from .rfc9111 import Request, selection_of
from .storage import STATE_DIRECTORY, Entry, FileStorage, MemoryTier, Share, Store, VaryIndex, digest_of, encode, fill_name

logger = logging.getLogger("wsgi_proxy")
_T = TypeVar("_T")

FILLS_DIRECTORY: Final = "fills"
_SAME_FAULT_EVERY: Final = 60.0
# How long a key whose answer could not be stored is fetched without others waiting for it.
_PASS_FOR: Final = 10.0
# How long a request that cannot follow a flight waits for it to land.
_STORING: Final = 0.05
_MEMORY_MAX: Final = 32 * 1024 * 1024


class ZoneCache:
    """The zone's verbs. ``directory`` holds what is shared by this machine's processes, whatever the storage is."""

    def __init__(self, settings: CacheZone, store: Store, directory: str, *, remember: bool = True) -> None:
        self.settings = settings
        self.store = store
        self.share = Share(directory)
        self.fills = os.path.join(directory, FILLS_DIRECTORY)
        os.makedirs(self.fills, 0o700, exist_ok=True)
        self.memory = MemoryTier(min(settings.size, _MEMORY_MAX) if remember else 0)
        self.body_max = min(filter(None, (settings.max_size, store.body_max)), default=0)
        """The longest body that is stored; 0 for no limit."""
        self._old: Share | None = None
        self._touch_every = min(60.0, settings.inactive / 4)
        self._faults: dict[str, float] = {}

    @classmethod
    def in_directory(cls, settings: CacheZone, directory: str) -> ZoneCache:
        """A zone of files in a directory. OSError if it cannot be made or written."""
        store = FileStorage(directory, settings.levels)
        return cls(settings, store, os.path.join(directory, STATE_DIRECTORY))

    # --- finding ------------------------------------------------------------------------------------------------------

    def find(self, key: str, request: Request) -> tuple[Entry | None, str]:
        """(The stored answer that fits this request, fresh or not; the name by which concurrent requests for it meet, or ""
        if that was not needed to find it: then `fill_name` tells)."""
        copy = self.memory.get(key)
        if copy is not None and self.share.states[copy.slot] == copy.state:
            entry = copy.entry
            if entry is None and copy.variants:
                entry = copy.variants.get(selection_of(request, copy.spec))
            if entry is not None:
                if self.store.holds(entry) and self.share.current() and not self._is_void(entry):
                    copy.used = True
                    return entry, ""
                self.memory.forget(key)
        self._in_present_directory()
        primary = digest_of(key)
        slot = Share.slot_of(primary)
        # Read before the storage is: what changes in between makes the copy stale, not current.
        state = self.share.states[slot]
        stored = self.load(primary)
        if stored is None or stored.key != key:
            return None, primary
        if isinstance(stored, Entry):
            if self._is_void(stored):
                return None, primary
            if stored.spec and stored.selection != selection_of(request, stored.spec):
                return None, fill_name(key, stored.spec, selection_of(request, stored.spec))
            self.memory.put(key, stored, slot, state)
            return stored, primary
        found, name = self._variant(stored, request)
        if found is not None and len(stored.specs) == 1:
            self.memory.put(key, found, slot, state)
        return found, name

    def _variant(self, index: VaryIndex, request: Request) -> tuple[Entry | None, str]:
        """The newest answer whose selecting fields the request matches (RFC 9111 section 4.1), and the name of its flight."""
        wanted = [(spec, selection_of(request, spec)) for spec in index.specs]
        loaded = [self.load(index.name_of(spec, selection)) for spec, selection in wanted]
        # The name says which variant lies there; its head must say the same.
        found = [
            each
            for each, (spec, selection) in zip(loaded, wanted, strict=True)
            if isinstance(each, Entry) and (each.key, each.spec, each.selection) == (index.key, spec, selection)
        ]
        found = [each for each in found if not self._is_void(each)]
        if not found:
            return None, fill_name(index.key, *wanted[0]) if wanted else index.primary
        best = max(found, key=lambda entry: entry.stored_at)
        return best, best.fill_name

    def _is_void(self, entry: Entry) -> bool:
        """Whether an unsafe request has voided the target of this answer since it was fetched."""
        return entry.voided >= 0 and self.voided(entry.target) != entry.voided

    def load(self, name: str) -> Entry | VaryIndex | None:
        try:
            return self.store.load(name)
        except OSError as error:
            self.fault("read", error)
            return None

    def fill_name(self, key: str, request: Request, entry: Entry | None) -> str:
        """By which name concurrent requests for the same answer meet."""
        return entry.fill_name if entry is not None else self.find(key, request)[1] or digest_of(key)

    def touch(self, entry: Entry, now: float) -> None:
        """Note a use, seldom enough to cost nothing and often enough that what is in use never counts as inactive."""
        if now - entry.touched_at > self._touch_every:
            entry.touched_at = now
            try:
                self.store.touch(entry, now)
            except OSError as error:
                self.fault("touch", error)

    def renew(self) -> None:
        """Share anew with the other processes where the cache's directory was removed. OSError if it cannot be made again."""
        if self.share.current():
            return
        fresh = Share(self.share.directory)
        os.makedirs(self.fills, 0o700, exist_ok=True)
        # Another greenlet may hold one of the old locks: their files are closed with the next change or with the zone.
        old, self._old, self.share = self._old, self.share, fresh
        if old is not None:
            old.close()
        self.memory.clear()

    def _in_present_directory(self) -> None:
        try:
            self.renew()
        except OSError as error:
            self.fault("share", error)

    # --- changing -----------------------------------------------------------------------------------------------------

    def purged(self, key: str) -> int:
        """The generation to give to `commit` and `refresh`: taken before the upstream is asked."""
        return self.share.purged(Share.slot_of(digest_of(key)))

    def commit(self, entry: Entry, fill: Fill, purged: int) -> bool:
        """Store a finished file as the entry; False if it was invalidated meanwhile or cannot be stored."""
        slot = Share.slot_of(entry.primary)
        try:
            with self.share.lock(slot):
                if self.share.purged(slot) != purged:
                    return False
                self._name(entry)
                size = self.store.adopt(fill, entry.name, self._keep(entry))
                self.share.changed(slot)
                self.share.stored(size)
        except OSError as error:
            self.fault("store", error)
            return False
        return True

    def _name(self, entry: Entry) -> None:
        """Where the entry goes: its key's own name, or one under the key's index if it varies."""
        if not entry.spec:
            entry.name = entry.primary
            return
        index = self.store.load(entry.primary)
        if not isinstance(index, VaryIndex) or index.key != entry.key:
            index = VaryIndex.fresh(entry.key)
        if entry.spec not in index.specs[:1]:
            index = index.with_spec(entry.spec)
            self.store.put(entry.primary, encode(index), self._keep(entry))
        entry.name = index.name_of(entry.spec, entry.selection)

    def _keep(self, entry: Entry) -> float:
        f = entry.freshness
        return self.settings.inactive + max(0.0, f.left(time.time())) + max(f.grace, f.error_grace)

    def refresh(self, entry: Entry, purged: int) -> bool:
        """Store a validated entry's new head; False if it was replaced or invalidated meanwhile."""
        slot = Share.slot_of(entry.primary)
        try:
            with self.share.lock(slot):
                if self.share.purged(slot) != purged or not self.store.refresh(entry, self._keep(entry)):
                    return False
                self.share.changed(slot)
        except OSError as error:
            self.fault("store", error)
            return False
        return True

    def drop(self, entry: Entry) -> None:
        """Remove one answer that turned out to be outdated. Fetches under way may still store newer ones."""
        self.memory.forget(entry.key)
        try:
            self._remove(entry.primary, entry.name, invalidate=False)
        except OSError as error:
            self.fault("remove", error)

    def invalidate(self, key: str) -> bool:
        """Remove all answers of a key, and keep those under way from being stored; whether there were any. OSError if it
        cannot be carried out."""
        self.renew()
        primary = digest_of(key)
        self.memory.forget(key)
        return self._remove(primary, primary, invalidate=True)

    def _remove(self, primary: str, name: str, *, invalidate: bool) -> bool:
        slot = Share.slot_of(primary)
        mark = self.share.invalidated if invalidate else self.share.changed
        try:
            with self.share.lock(slot):
                # Marked twice: before, for a process that is killed in between; after, for a reader who took the state
                # of the first mark and the file of before.
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

    def voided(self, target: str) -> int:
        """How often the answers of a target were voided, under whatever key."""
        return self.share.voided(Share.slot_of(digest_of(target)))

    def void(self, target: str) -> None:
        """Void every answer of a target, also those under keys that cannot be worked out from it (they name a method, a cookie, a
        field): each is compared with this count when it is found. OSError if it cannot be carried out."""
        self.renew()
        slot = Share.slot_of(digest_of(target))
        with self.share.lock(slot):
            self.share.void(slot)

    @property
    def lists(self) -> bool:
        """Whether the storage can say what it holds."""
        return isinstance(self.store, FileStorage)

    def purge(self, wanted: Callable[[Entry], bool]) -> int:
        """Remove every answer that is wanted, and keep all fetches under way from being stored; the number of answers that
        went. It walks the whole store. OSError if any of it cannot be carried out."""
        if not self.lists:
            raise OSError("its storage cannot say what it holds")
        self.renew()
        self.share.invalidate_all()
        found = [(entry.primary, entry.name) for entry in self.entries() if wanted(entry)]
        indexes = {primary for primary, name in found if name != primary}
        gone, failed = 0, None
        for primary, name in found + [(primary, primary) for primary in indexes]:
            try:
                gone += self._remove(primary, name, invalidate=True) and (name != primary or primary not in indexes)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed
        return gone

    def entries(self) -> Iterator[Entry]:
        """Every stored answer that can still be reached, in the order of the directories."""
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

    # --- flights ------------------------------------------------------------------------------------------------------

    def join(self, name: str) -> Fill | Follower | None:
        """Lead or follow the flight of that name; None if the directory does not allow it."""
        try:
            return self._in_directory(lambda: join(self.fills, name))
        except OSError as error:
            self.fault("lock", error)
            return None

    def wait_until_stored(self, name: str) -> bool:
        """Whether there was a flight of that name, waiting a moment for its end: an answer is stored right after its last
        byte was delivered, and who got that byte may ask again before it is."""
        path = os.path.join(self.fills, name)
        deadline, pause = time.monotonic() + _STORING, 0.0005
        was = False
        while os.path.exists(path) and time.monotonic() < deadline:
            was = True
            time.sleep(pause)
            pause *= 1.5
        return was

    def wait_for_others(self, fill: Fill, key: str, patience: float) -> None:
        """Called by who leads on this machine, before it asks the upstream: what others are storing under the key is in its
        place afterwards. Storages for several machines wait here for a flight that another machine leads."""
        # An answer that varies takes two steps to store, and its flight ends with them, not between.
        try:
            with self.share.lock(Share.slot_of(digest_of(key))):
                return
        except OSError as error:
            self.fault("lock", error)

    def private_fill(self) -> Fill | None:
        try:
            return self._in_directory(lambda: private_fill(self.fills))
        except OSError as error:
            self.fault("store", error)
            return None

    def _in_directory(self, begin: Callable[[], _T]) -> _T:
        """Begin a flight; in a new directory where an operator has removed the cache's."""
        try:
            return begin()
        except FileNotFoundError:
            self.renew()
            os.makedirs(self.fills, 0o700, exist_ok=True)
            return begin()

    def uses(self, key: str) -> int:
        """Count one more request for a key; how many there were."""
        return self.share.used(digest_of(key))

    def may_pass(self, name: str, follower: Follower, age: float) -> bool:
        """Whether this waiter of a flight may ask the upstream itself: one may each time that nothing has come for `age` seconds
        (proxy_cache_lock_age)."""
        try:
            with self.share.lock(Share.slot_of(name)):
                if follower.grows_old_in(age) > 0:
                    return False
                follower.renew()
                return True
        except OSError as error:
            self.fault("lock", error)
            return True

    def passes(self, name: str, now: float) -> bool:
        """Whether the last answer of that name could not be stored, so that waiting for the next would gain nothing. As any
        worker found out."""
        return now < self.share.passed_until(name)

    def mark_pass(self, name: str, now: float) -> None:
        """Let requests of that name pass each other for a while."""
        self.share.let_pass(name, now + _PASS_FOR)

    def fault(self, what: str, error: OSError, *, log: Callable[..., None] = logger.error) -> None:
        """Report that the storage failed, once a minute for each kind of fault."""
        now = time.monotonic()
        last = self._faults.get(what)
        if last is None or now - last >= _SAME_FAULT_EVERY:
            self._faults[what] = now
            log('cache zone "%s" cannot %s: %s', self.settings.name, what, error)

    def close(self) -> None:
        self.share.close()
        if self._old is not None:
            self._old.close()
