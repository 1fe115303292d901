"""A zone on a storage that the user names: `proxy_cache_path my.package:thing keys_zone=…`.

The thing is a `cachecontrol.cache.BaseCache`, or a class or function that makes one, called once in each process. What it
shares between processes is its own affair; who fetches and what was invalidated is shared among the processes of this
machine all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachecontrol.cache import BaseCache

from ...config import plugins
from ..zone import ZoneCache
from .blob import BlobStorage
from .files import FileStorage

if TYPE_CHECKING:
    from ...config import CacheZone


def load_storage(name: str) -> BaseCache:
    """The storage that `module:attribute` names; OSError (what the caller reports) if it is not one."""
    try:
        made = plugins.load(name, lambda found: found if isinstance(found, BaseCache) else found())
    except ValueError as error:
        raise OSError(f"storage: {error}") from error
    if not isinstance(made, BaseCache):
        raise OSError(f'storage "{name}" is a {type(made).__name__}, not a cachecontrol.cache.BaseCache')
    return made


def open_plugin_zone(settings: CacheZone, folder: str) -> ZoneCache:
    """A zone on a user's storage; ``folder`` is where this machine's processes meet."""
    base = load_storage(settings.path)
    if isinstance(base, FileStorage):
        return ZoneCache(settings, base, folder)
    # No copies in memory: another machine, or another program, may change what is stored without our knowing.
    return ZoneCache(settings, BlobStorage(base), folder, remember=False)
