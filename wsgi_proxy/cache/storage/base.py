"""The interface of a cache storage.

Rules:
- A storage keeps entries and indexes under names: digests of 32 hexadecimal digits.
- It raises OSError when it does not work. The cache then counts a miss and writes a line to the error log.
- `storage/open.py` has the table of storages. `plugin.py` is the shortest example of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .entry import Entry, VaryIndex

if TYPE_CHECKING:
    from ..fill import Fill


class Store(Protocol):
    """The operations of a storage. `keep` is the number of seconds for which an entry can be of use."""

    body_max: int
    """The longest body that the storage takes, in bytes; 0 for no limit."""

    def load(self, name: str) -> Entry | VaryIndex | None:
        """Return the entry or index of that name; None if there is none. BrokenEntry if it was damaged, and is removed."""

    def adopt(self, fill: Fill, name: str, keep: float) -> int:
        """Take over a finished file as the entry of that name, replacing any other, and return by how many bytes the store grew.

        OSError if that cannot be done, or if the fill's path names another file by now.
        """

    def put(self, name: str, data: bytes, keep: float) -> None:
        """Store a whole small file."""

    def refresh(self, entry: Entry, keep: float) -> bool:
        """Replace a stored entry's head by `entry.head()`; False if another entry has taken its place."""

    def delete(self, name: str) -> int | None:
        """Remove an entry and return its size in bytes, or None if there was none."""

    def holds(self, entry: Entry) -> bool:
        """Return True if an entry that was read before is still stored, or was replaced. Called on every hit from memory."""

    def touch(self, entry: Entry, now: float) -> None:
        """Note a use of an entry, for storages that remove unused entries."""
