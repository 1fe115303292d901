"""A zone of key-value pairs, shared by the workers of one machine.

Rules:
- Each worker has a copy of the pairs in a dict, which follows the shared log (`log`). A look-up changes nothing.
- A pair that has expired is not found. Its memory is freed when the log is rewritten.
- A set of changes is made whole or not at all. A zone without room refuses it, or evicts the pairs that expire first.
- With `sync`, a change has version 0 until the other machines know it (`sync`). A removed key stays as a change until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, Fault
from ..logs import errorlog
from . import state
from .log import CURSOR, IDENTITY, Entry, Log, Memory, space
from .matching import matching

if TYPE_CHECKING:
    from ..config import KeyvalZone

Change = tuple[bytes, bytes | None, int | None]
"""A key, its value (None removes it), and its expiry in milliseconds since the epoch (0 for never, None for the timeout's)."""
Record = tuple[bytes, bytes | None, int, int]
"""A change from another machine: key, value, expiry and version."""
_KEPT: Final = 0.75
"""The share of a half that an eviction leaves in use."""


class Full(Exception):
    """The zone has no room for a change."""


class Zone:
    """One zone. `clock` returns seconds since the epoch; with `evicts` a full zone drops the pairs that expire first."""

    def __init__(
        self, settings: KeyvalZone, memory: Memory, prefix: str = "", clock: Callable[[], float] = time.time, evicts: bool = False
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.sync = settings.sync
        self._clock = clock
        self._evicts = evicts
        self._log = Log(memory, settings.name, settings.size)
        self._entries: dict[bytes, Entry] = {}
        self._index = matching(settings.kind)
        self._pending: dict[bytes, Entry] = {}
        self._state = state.StateFile(settings.state, prefix, memory.lock(f"keyval {settings.name} state"))
        with self._log.lock:
            if self._log.fresh:
                self._load()
            self._read()

    def _load(self) -> None:
        """Read the state file into the new memory. Raises ConfigError if it cannot be read."""
        place = self.settings.place
        try:
            pairs = self._state.read()
        except (OSError, ValueError) as error:
            path = self._state.path
            raise ConfigError(Fault(f'state file "{path}" cannot be read: {error}', place.file, place.line)) from None
        now = self._now()
        self._log.open()
        try:
            # With `sync`, the pairs of the file count as known: those in Redis are newer.
            self._put([(key, value, expires) for key, value, expires in pairs if not 0 < expires <= now], version=1)
        except Full:
            raise ConfigError(Fault(f'zone "{self.name}" is too small for its state file', place.file, place.line)) from None

    # --- look-ups -------------------------------------------------------------------------------------------------------

    def find(self, key: bytes) -> bytes | None:
        """Return the value that matches a key by the zone's type; None if there is none."""
        if self._log.changed:
            self.refresh()
        index = self._index
        while True:
            found = key if index is None else index.find(key)
            entry = None if found is None else self._entries.get(found)
            if entry is None or not 0 < entry.expires <= self._now():
                return None if entry is None else entry.value
            if index is None or found is None:
                return None
            # A shorter key may match instead.
            with self._log.lock:
                self._read()
                self._forget(found)

    def entry(self, key: bytes) -> Entry | None:
        """Return the pair with exactly this key; None if there is none."""
        if self._log.changed:
            self.refresh()
        return self._living(key)

    def entries(self) -> dict[bytes, Entry]:
        """Return all pairs."""
        self.refresh()
        now = self._now()
        return {key: entry for key, entry in list(self._entries.items()) if not 0 < entry.expires <= now}

    def _living(self, key: bytes) -> Entry | None:
        entry = self._entries.get(key)
        return None if entry is None or 0 < entry.expires <= self._now() else entry

    def _now(self) -> int:
        return int(self._clock() * 1000)

    # --- changes --------------------------------------------------------------------------------------------------------

    def change(self, decide: Callable[[Callable[[bytes], Entry | None]], Iterable[Change]]) -> None:
        """Make the changes that `decide` returns. It gets a function that returns the pair of a key, and runs under the lock.

        Raises Full if they have no room, and the exceptions of `decide`; then nothing is changed.
        """
        with self._log.lock:
            self._read()
            self._put(list(decide(self._living)))
        self._save()

    def put(self, *changes: Change) -> None:
        """Make changes. Raises Full if they have no room."""
        self.change(lambda present: changes)

    def clear(self) -> None:
        """Remove all pairs."""
        self.change(lambda present: [(key, None, 0) for key in list(self._entries)])

    def _put(self, changes: Iterable[Change], version: int = 0) -> None:
        last = {change[0]: change for change in changes}
        wanted: list[tuple[bytes, bytes | None, int]] = []
        for key, value, expires in last.values():
            if expires is None:
                expires = self._now() + int(self.settings.timeout * 1000) if self.settings.timeout else 0
            if value is not None or key in self._entries:
                wanted.append((key, value, expires))
        self._make_room(sum(space(key, value) for key, value, _ in wanted))
        for key, value, expires in wanted:
            self._apply(key, self._log.append(key, value, expires, version))

    def _make_room(self, needed: int) -> None:
        """Rewrite the log if `needed` bytes are not free. Raises Full if that is not enough."""
        log = self._log
        if needed <= log.room:
            return
        now = self._now()
        kept = [(key, entry) for key, entry in self._entries.items() if not 0 < entry.expires <= now]
        kept += [(key, entry) for key, entry in self._pending.items() if entry.value is None]
        size = sum(space(key, entry.value) for key, entry in kept)
        if self._evicts and size + needed > log.size * _KEPT:
            # A pair that never expires stays for the longest time.
            kept.sort(key=lambda pair: pair[1].expires or float("inf"), reverse=True)
            while kept and size + needed > log.size * _KEPT:
                key, entry = kept.pop()
                size -= space(key, entry.value)
            kept.reverse()
        if size + needed > log.size:
            raise Full(f'zone "{self.name}" is full')
        log.rewrite(kept)
        self._replace(kept)

    # --- this process's copy --------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the changes of other processes."""
        with self._log.lock:
            self._read()

    def _read(self) -> None:
        if self._log.changed:
            whole, changes = self._log.read()
            if whole:
                self._replace(changes)
            else:
                for key, entry in changes:
                    self._apply(key, entry)

    def _replace(self, changes: Iterable[tuple[bytes, Entry]]) -> None:
        self._entries, self._pending, self._index = {}, {}, matching(self.settings.kind)
        for key, entry in changes:
            self._apply(key, entry)

    def _apply(self, key: bytes, entry: Entry) -> None:
        if entry.value is None:
            self._forget(key)
        else:
            if self._index is not None and key not in self._entries:
                self._index.add(key)
            self._entries[key] = entry
        if self.sync:
            if entry.version:
                self._pending.pop(key, None)
            else:
                self._pending[key] = entry

    def _forget(self, key: bytes) -> None:
        if self._entries.pop(key, None) is not None and self._index is not None:
            self._index.discard(key)

    def _save(self) -> None:
        if not self._state.path:
            return
        try:
            self._state.write(self.entries)
        except OSError as error:
            errorlog.line("error", f'keyval zone "{self.name}": state file "{self._state.path}" cannot be written: {error}')

    # --- synchronization with other machines (`sync`) -------------------------------------------------------------------

    @property
    def position(self) -> tuple[str, int]:
        """The identity of the Redis data that this machine has read ("" for none), and the number of the last change read."""
        words = self._log.words
        identity = words[IDENTITY : IDENTITY + 2].tobytes().hex()
        cursor: int = words[CURSOR]
        return ("" if not any(words[IDENTITY : IDENTITY + 2]) else identity), cursor

    def set_position(self, identity: str, cursor: int) -> None:
        """Record the position; `identity` is 32 hexadecimal digits."""
        words = self._log.words
        with self._log.lock:
            data = memoryview(bytes.fromhex(identity)).cast("Q")
            words[CURSOR] = cursor
            words[IDENTITY : IDENTITY + 2] = data

    def pending(self) -> dict[bytes, Entry]:
        """Return the changes that other machines do not know."""
        if self._log.changed:
            self.refresh()
        now = self._now()
        for key, entry in list(self._pending.items()):
            if 0 < entry.expires <= now:
                self._pending.pop(key, None)
        return dict(self._pending)

    def take(self, records: Iterable[Record], sent: Mapping[bytes, int]) -> None:
        """Apply changes from Redis. A change of this machine that is newer than the sent one (`sent` has its number) stays."""
        changed = False
        with self._log.lock:
            self._read()
            for key, value, expires, version in records:
                own = self._pending.get(key)
                if own is not None and own.number != sent.get(key):
                    continue
                known = own or self._entries.get(key)
                if known is None and value is None or known is not None and (known.version, known.value) == (version, value):
                    continue
                try:
                    self._make_room(space(key, value))
                except Full as error:
                    errorlog.line("error", f"keyval {error}: a pair of another machine has no room")
                    break
                self._apply(key, self._log.append(key, value, expires, version))
                changed = True
        if changed:
            self._save()

    def keep_only(self, keys: Collection[bytes]) -> None:
        """Remove the pairs that came from other machines and are not among `keys`."""
        with self._log.lock:
            self._read()
            gone = [key for key, entry in self._entries.items() if entry.version and key not in keys]
        self.take([(key, None, 0, 1) for key in gone], {})
