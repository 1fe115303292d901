"""Cache storages: files, memory, Redis, and any CacheControl storage."""

from .directories import is_folder, make_folders
from .entry import BrokenEntry, Entry, VaryIndex, digest_of, flight_of, new_id
from .files import STATE_FOLDER, FileStorage, Store
from .format import COMPLETE, FILLING, SUPERBLOCK, VOID, Superblock, encode, load
from .generations import Share
from .memory import MemoryTier
from .open import memory_zones, open_zone
from .sweep import sweep_zone

__all__ = [
    "BrokenEntry",
    "COMPLETE",
    "Entry",
    "FILLING",
    "FileStorage",
    "MemoryTier",
    "STATE_FOLDER",
    "SUPERBLOCK",
    "Share",
    "Store",
    "Superblock",
    "VOID",
    "VaryIndex",
    "digest_of",
    "encode",
    "flight_of",
    "is_folder",
    "load",
    "make_folders",
    "memory_zones",
    "new_id",
    "open_zone",
    "sweep_zone",
]
