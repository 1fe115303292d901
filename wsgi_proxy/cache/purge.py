"""Purging: by a request (`proxy_cache_purge`), and by a pattern from the command line.

Rules:
- A request purges its own key; where that ends in `*`, every key that begins so (nginx Plus, proxy_cache_purge). Without a
  `proxy_cache_key` this is judged by the target, because such a key does not end with it.
- A pattern is compared with an answer's key, its target (`/a?b`) and its whole URL. Text that is exactly one of them means only
  that: a URL may have brackets and question marks.
- OSError is a purge that could not be carried out, in whole or in part; it is not the same as one that found nothing.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from .plan import target_uri

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .plan import CachePlan
    from .storage import Entry
    from .zone import ZoneCache


def by_request(exchange: Exchange, plan: CachePlan, zone: ZoneCache) -> int:
    """Purge what a request asks for; the number of keys or answers that went."""
    asked = exchange
    if exchange.method not in plan.methods:
        # `PURGE /a` means what was stored for GET, also under a key that names the method.
        asked = exchange.copy()
        asked.method = "GET"
        asked.variables = dict(exchange.variables)
    key = exchange.cache_key = plan.key(asked)
    text = target_uri(exchange) if plan.settings.key is None else key
    if text.endswith("*"):
        return by_prefix(zone, text[:-1])
    return sum(zone.invalidate(each) for each in plan.keys(asked))


def by_prefix(zone: ZoneCache, prefix: str) -> int:
    """Purge every key that begins with `prefix`; the number of answers that went."""
    return zone.purge(lambda entry: entry.key.startswith(prefix))


def by_pattern(zone: ZoneCache, pattern: str) -> int:
    """Purge what is exactly `pattern`, else what it matches as a shell pattern; the number of answers that went."""
    if not zone.lists:
        gone = zone.invalidate(pattern)
        if not gone and any(mark in pattern for mark in "*?["):
            raise OSError("its storage cannot say what it holds")
        return int(gone)
    return zone.purge(lambda entry: pattern in names(entry)) or zone.purge(lambda entry: matches(entry, pattern))


def matches(entry: Entry, pattern: str) -> bool:
    """Whether a pattern, read as text or as a shell pattern, means this answer."""
    known = names(entry)
    return pattern in known or any(fnmatch.fnmatchcase(name, pattern) for name in known)


def names(entry: Entry) -> tuple[str, str, str]:
    """An answer's key, its target and its URL."""
    return entry.key, entry.uri, entry.target or entry.key.partition(" ")[0]
