"""Entries as values of any storage that speaks CacheControl's interface: the bytes of a file, under its name.

Whatever the storage raises is an OSError to the cache: it does not work now.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cachecontrol.cache import BaseCache

from .entry import BrokenEntry, Entry, VaryIndex
from .format import CHECKED_BODY, COMPLETE, SUPERBLOCK, Superblock, announce_length, decode_head, encode

if TYPE_CHECKING:
    from ..flight import Fill

# What is not a file is held in memory whole: no larger answers go there.
BLOB_MAX: Final = 8 * 1024 * 1024

logger = logging.getLogger("wsgi_proxy")


class BlobStorage:
    """Entries as values of a CacheControl storage: what it raises counts as an OSError of ours."""

    body_max = BLOB_MAX

    def __init__(self, base: BaseCache) -> None:
        self.base = base

    def load(self, name: str) -> Entry | VaryIndex | None:
        data = self._call(self.base.get, name)
        if not data:
            return None
        try:
            found = decode_bytes(data)
        except BrokenEntry as error:
            logger.warning('cache entry "%s" is removed: %s', name, error)
            self._call(self.base.delete, name)
            return None
        if isinstance(found, Entry):
            found.name = name
        return found

    def adopt(self, fill: Fill, name: str, keep: float) -> int:
        data = fill.read()
        self.put(name, data, keep)
        fill.copied()
        return len(data)

    def put(self, name: str, data: bytes, keep: float) -> None:
        self._call(self.base.set, name, data, max(1, int(keep)))

    def refresh(self, entry: Entry, keep: float) -> bool:
        stored = self.load(entry.name)
        if not isinstance(stored, Entry) or stored.id != entry.id:
            return False
        self.put(entry.name, encode(entry, entry.body or b""), keep)
        return True

    def delete(self, name: str) -> int | None:
        data = self._call(self.base.get, name)
        if not data:
            return None
        self._call(self.base.delete, name)
        return len(data)

    def holds(self, entry: Entry) -> bool:
        """Nothing is remembered of these storages."""
        return True

    def touch(self, entry: Entry, now: float) -> None:
        """These storages go by the time that `put` gave them."""

    @staticmethod
    def _call(function: Callable[..., Any], *arguments: Any) -> Any:
        """A storage may raise what it likes (redis its own errors); to the cache it is all one: it does not work now."""
        try:
            return function(*arguments)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def decode_bytes(data: bytes) -> Entry | VaryIndex:
    """An entry with its whole body, or an index, from the bytes of a file."""
    block = Superblock.unpack(data[:SUPERBLOCK])
    found = decode_head(data[block.head_offset : block.head_offset + block.head_length], block.head_crc)
    if isinstance(found, Entry):
        body = data[block.body_offset : block.body_offset + block.body_length]
        if block.state != COMPLETE or len(body) != block.body_length:
            raise BrokenEntry("truncated body")
        if len(body) <= CHECKED_BODY and zlib.crc32(body) != block.body_crc:
            raise BrokenEntry("damaged body")
        found.id, found.body, found.body_length, found.body_offset = block.id, body, len(body), block.body_offset
        announce_length(found)
    return found
