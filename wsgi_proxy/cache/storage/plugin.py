"""Storages with CacheControl's interface: `proxy_cache_path my.package:thing keys_zone=…`.

Rules:
- `my.package:thing` is a `cachecontrol.cache.BaseCache`, or a class or function that returns one. Each process calls it once.
- A value is the bytes of a cache file (see `format.py`) under the entry's name. It is held in memory whole, so its size is
  limited.
- Any exception of the storage is an OSError to the cache.
- The storage decides what machines share. Fetches and invalidations are shared by the processes of one machine in any case.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cachecontrol.cache import BaseCache

from ...config import plugins
from ..zone import ZoneCache
from .entry import BrokenEntry, Entry, VaryIndex
from .files import FileStorage
from .format import CHECKED_BODY, COMPLETE, SUPERBLOCK, Superblock, announce_length, decode_head, encode

if TYPE_CHECKING:
    from ...config import CacheZone
    from ..fill import Fill

BLOB_MAX: Final = 8 * 1024 * 1024
"""The longest body of a value, in bytes."""


class BlobStorage:
    """Entries as values of a CacheControl storage, `base`. Its exceptions become OSErrors."""

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
            self._call(self.base.delete, name)
            raise BrokenEntry(f'"{name}": {error}') from None
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
        """Return True: entries of these storages are not kept in memory."""
        return True

    def touch(self, entry: Entry, now: float) -> None:
        """Do nothing: these storages expire entries after the seconds given to `put`."""

    @staticmethod
    def _call(function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the storage. Any exception becomes an OSError."""
        try:
            return function(*arguments)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def decode_bytes(data: bytes) -> Entry | VaryIndex:
    """Return an entry with its whole body, or an index, from the bytes of a file. BrokenEntry if they are damaged."""
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


def load_storage(name: str) -> BaseCache:
    """Return the storage that `module:attribute` names. OSError if there is none."""
    try:
        made = plugins.load(name, lambda found: found if isinstance(found, BaseCache) else found())
    except ValueError as error:
        raise OSError(f"storage: {error}") from error
    if not isinstance(made, BaseCache):
        raise OSError(f'storage "{name}" is a {type(made).__name__}, not a cachecontrol.cache.BaseCache')
    return made


def open_plugin_zone(settings: CacheZone, directory: str) -> ZoneCache:
    """Return a zone on a user's storage. `directory` holds the state that this machine's processes share."""
    base = load_storage(settings.path)
    if isinstance(base, FileStorage):
        return ZoneCache(settings, base, directory)
    # No copies in memory, because another machine or program may change the entries at any time.
    return ZoneCache(settings, BlobStorage(base), directory, remember=False)
