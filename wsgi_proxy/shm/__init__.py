"""Memory that the workers of one server share."""

from .segment import forked_without_exec, unlink_files_of
from .zone import PrivateZone, Zone, ZoneLock

__all__ = ["PrivateZone", "Zone", "ZoneLock", "forked_without_exec", "segment", "unlink_files_of"]
