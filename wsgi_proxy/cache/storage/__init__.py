"""Cache storages: files, memory, Redis, and any CacheControl storage."""

from .base import Store
from .entry import BrokenEntry, Entry, VaryIndex, digest_of, fill_name, new_id
from .files import STATE_DIRECTORY, FileStorage, same_file
from .format import COMPLETE, FILLING, SUPERBLOCK, VOID, Superblock, encode, load
from .generations import Share
from .memory import ErrorTier, MemoryTier
from .open import is_directory, memory_zones, open_zone
from .sweep import sweep_zone

__all__ = [
    "BrokenEntry",
    "COMPLETE",
    "Entry",
    "ErrorTier",
    "FILLING",
    "FileStorage",
    "MemoryTier",
    "STATE_DIRECTORY",
    "SUPERBLOCK",
    "Share",
    "Store",
    "Superblock",
    "VOID",
    "VaryIndex",
    "digest_of",
    "encode",
    "fill_name",
    "is_directory",
    "load",
    "memory_zones",
    "new_id",
    "open_zone",
    "same_file",
    "sweep_zone",
]
