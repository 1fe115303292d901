"""The shared memory of a configuration.

Rules:
- Workers with the same files, or with the same pools made in Python, share it.
- Counters and key-value pairs lie in memory of a file's path, so that a change of the file keeps them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .shared_memory import SharedMemory

if TYPE_CHECKING:
    from ..config import Config


def memory_of(config: Config) -> SharedMemory:
    """Return the memory of a configuration as it is. OSError if no directory can hold the file."""
    said = repr(config.files or sorted((name, upstream.servers) for name, upstream in config.upstreams.items()))
    return SharedMemory.open(hashlib.blake2b(said.encode(errors="surrogateescape"), digest_size=16).hexdigest())


def kept_memory_of(config: Config) -> SharedMemory:
    """Return the memory that outlives a change of the configuration's file. OSError if no directory can hold the file."""
    return SharedMemory.open(f"status {config.path}", kept=True) if config.files else memory_of(config)
