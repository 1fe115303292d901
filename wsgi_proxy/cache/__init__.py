"""The shared HTTP cache: `Cache` answers requests from its zones, `Fetch` asks the upstream on its behalf."""

from .cache import Cache
from .fetch import Fetch
from .partial import met_alone, refusal_of, share_of
from .plan import CachePlan, is_sliced
from .purge import by_pattern, matches
from .rfc9111 import not_modified_fields, validators
from .storage import Entry, is_directory, memory_zones, open_zone
from .validation import remember_error
from .zone import ZoneCache

__all__ = [
    "Cache",
    "CachePlan",
    "Entry",
    "Fetch",
    "ZoneCache",
    "by_pattern",
    "is_directory",
    "is_sliced",
    "matches",
    "met_alone",
    "memory_zones",
    "not_modified_fields",
    "open_zone",
    "refusal_of",
    "remember_error",
    "share_of",
    "validators",
]
