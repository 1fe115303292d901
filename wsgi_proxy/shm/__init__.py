"""Memory shared by the workers of one server."""

from .configuration import kept_memory_of as kept_memory_of
from .configuration import memory_of as memory_of
from .private_memory import PrivateMemory
from .segment import forked_without_exec, memory_directory, unlink_files_of
from .shared_memory import SharedLock, SharedMemory

__all__ = ["PrivateMemory", "SharedMemory", "SharedLock", "forked_without_exec", "memory_directory", "segment", "unlink_files_of"]
