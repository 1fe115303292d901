"""Storages with CacheControl's interface: `proxy_cache_path my.package:thing keys_zone=…`.

Rules:
- `my.package:thing` is a `cachecontrol.cache.BaseCache`, or a class or function that returns one. Each process calls it once.
- A value is the bytes of a cache file (see `format.py`) under the entry's name. It is held in memory whole, so its size is
  limited.
- Any exception of the storage is an OSError to the cache.
- The storage decides what machines share. Fetches and invalidations are shared by the processes of one machine in any case.
"""

from __future__ import annotations

import importlib
import logging
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cachecontrol.cache import BaseCache

from ..zone import ZoneCache
from .entry import BrokenEntry, Entry, VaryIndex
from .files import FileStorage
from .format import CHECKED_BODY, COMPLETE, SUPERBLOCK, Superblock, announce_length, decode_head, encode

if TYPE_CHECKING:
    from ...config import CacheZone
    from ..fill import Fill

BLOB_MAX: Final = 8 * 1024 * 1024
"""The longest body of a value, in bytes."""

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


def load_storage(name: str) -> BaseCache:
    """The storage that `module:attribute` names; OSError (what the caller reports) if it is not one."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        made = found if isinstance(found, BaseCache) else found()  # type: ignore[operator]
    except Exception as error:
        raise OSError(f'storage "{name}": {type(error).__name__}: {error}') from error
    if not isinstance(made, BaseCache):
        raise OSError(f'storage "{name}" is a {type(made).__name__}, not a cachecontrol.cache.BaseCache')
    return made


def open_plugin_zone(settings: CacheZone, directory: str) -> ZoneCache:
    """A zone on a user's storage; ``directory`` is where this machine's processes meet."""
    base = load_storage(settings.path)
    if isinstance(base, FileStorage):
        return ZoneCache(settings, base, directory)
    # No copies in memory: another machine, or another program, may change what is stored without our knowing.
    return ZoneCache(settings, BlobStorage(base), directory, remember=False)
