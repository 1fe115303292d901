"""Copies of entries in one process's memory, within a bound in bytes.

Rules:
- A copy is current while its slot's state (see `generations.py`) is the one under which it was read. That is one read of shared
  memory per hit, without a system call.
- Eviction is by second chance: a hit sets a flag and moves nothing.
"""

from __future__ import annotations

import threading
from typing import Final

from ..rfc9111 import Selection, Spec
from .entry import Entry

# Selections kept for each key. Further variants are read from the store.
_VARIANTS_MAX: Final = 16
_MOST_ERRORS: Final = 1024


class Copy:
    """The copies of one key: its only entry, or its variants by their selections."""

    __slots__ = ("entry", "slot", "spec", "state", "used", "variants", "weight")

    def __init__(self, slot: int, state: int) -> None:
        self.slot = slot
        self.state = state
        self.used = False
        self.weight = 0
        self.entry: Entry | None = None
        """The only entry of a key without variants."""
        self.spec: Spec = ()
        self.variants: dict[Selection, Entry] | None = None


class MemoryTier:
    """Copies by key, of at most `limit` bytes together."""

    __slots__ = ("_copies", "_guard", "_limit", "_weight")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._copies: dict[str, Copy] = {}
        self._weight = 0
        self._guard = threading.Lock()

    def get(self, key: str) -> Copy | None:
        """Return the copies of a key; None if there are none."""
        return self._copies.get(key)

    def put(self, key: str, entry: Entry, slot: int, state: int) -> None:
        """Keep an entry that was read while its slot had `state`, unless it takes more than a quarter of the limit."""
        weight = entry.weight() + 2 * len(key)
        if weight > self._limit // 4:
            return
        with self._guard:
            copy = self._copies.get(key)
            if copy is None or copy.state != state or copy.spec != entry.spec:
                self._drop(key)
                copy = self._copies[key] = Copy(slot, state)
                copy.spec = entry.spec
            if entry.spec:
                if copy.variants is None:
                    copy.variants = {}
                if len(copy.variants) >= _VARIANTS_MAX:
                    oldest = next(iter(copy.variants))
                    self._lighten(copy, copy.variants.pop(oldest).weight())
                replaced = copy.variants.get(entry.selection)
                copy.variants[entry.selection] = entry
            else:
                replaced, copy.entry = copy.entry, entry
            if replaced is not None:
                self._lighten(copy, replaced.weight() + 2 * len(key))
            copy.weight += weight
            self._weight += weight
            self._evict()

    def forget(self, key: str) -> None:
        """Drop the copies of a key."""
        with self._guard:
            self._drop(key)

    def clear(self) -> None:
        """Drop all copies."""
        with self._guard:
            self._copies.clear()
            self._weight = 0

    def _drop(self, key: str) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            self._weight -= copy.weight

    def _lighten(self, copy: Copy, weight: int) -> None:
        copy.weight -= weight
        self._weight -= weight

    def _evict(self) -> None:
        while self._weight > self._limit and self._copies:
            key = next(iter(self._copies))
            copy = self._copies.pop(key)
            if copy.used:
                copy.used = False
                self._copies[key] = copy
            else:
                self._weight -= copy.weight

    @property
    def weight(self) -> int:
        """The bytes of all copies together, roughly."""
        return self._weight

    def __len__(self) -> int:
        return len(self._copies)


class ErrorTier:
    """The statuses of upstream responses whose place an error page takes, by cache key, in this process."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def put(self, key: str, status: int, until: float) -> None:
        """Remember a status until a time in seconds since 1970."""
        if len(self._known) >= _MOST_ERRORS:
            del self._known[next(iter(self._known))]
        self._known[key] = status, until

    def get(self, key: str, now: float) -> int:
        """Return the status of a key; 0 without one that holds now."""
        if not self._known:
            return 0
        status, until = self._known.get(key, (0, 0.0))
        return status if now < until else 0

    def forget(self, key: str) -> None:
        """Forget the status of a key."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
