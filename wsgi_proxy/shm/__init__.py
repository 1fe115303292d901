"""Memory that the workers of one server share."""

from .segment import forked_without_exec, memory_directory, unlink_files_of
from .shared_memory import PrivateMemory, SharedLock, SharedMemory

__all__ = ["PrivateMemory", "SharedMemory", "SharedLock", "forked_without_exec", "memory_directory", "segment", "unlink_files_of"]
