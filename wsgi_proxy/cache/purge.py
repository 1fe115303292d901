"""Purging: by a request (`proxy_cache_purge`), and by a pattern from the command line.

Rules:
- A request purges its own key. If that ends in `*`, it purges every key with that beginning (ngx_http_proxy_module,
  proxy_cache_purge). Without a `proxy_cache_key` the target is compared, because such a key does not end with it.
- A pattern is compared with an entry's key, its target (`/a?b`) and its whole URL. Text that is exactly one of them matches only
  that one, because a URL may have brackets and question marks.
- OSError means that the purge failed, in whole or in part. It does not mean that nothing was found.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import TYPE_CHECKING

from .plan import target_uri

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .plan import CachePlan
    from .storage import Entry
    from .zone import ZoneCache


def by_request(exchange: Exchange, plan: CachePlan, zone: ZoneCache) -> int:
    """Purge the entries that a request selects, and return the number of keys or entries removed."""
    asked = exchange
    if exchange.method not in plan.methods:
        # `PURGE /a` selects the response to GET, also under a key that names the method.
        asked = exchange.copy()
        asked.method = "GET"
        asked.variables = dict(exchange.variables)
    key = exchange.cache_key = plan.key(asked)
    text = target_uri(exchange) if plan.settings.key is None else key
    if text.endswith("*"):
        return by_prefix(zone, text[:-1])
    return sum(zone.invalidate(each) for each in plan.keys(asked))


def by_prefix(zone: ZoneCache, prefix: str) -> int:
    """Purge every key that begins with `prefix`, and return the number of entries removed."""
    return zone.purge(lambda entry: entry.key.startswith(prefix))


def by_pattern(zone: ZoneCache, pattern: str) -> int:
    """Purge the entries named exactly `pattern`, else those that match it as a shell pattern, and return their number."""
    if not zone.lists:
        gone = zone.invalidate(pattern)
        if not gone and any(mark in pattern for mark in "*?["):
            raise OSError("its storage cannot list its entries")
        return int(gone)
    return zone.purge(lambda entry: pattern in names(entry)) or zone.purge(lambda entry: matches(entry, pattern))


def all_files(zone: ZoneCache, wanted: Callable[[Entry], bool]) -> int:
    """Remove every entry of a zone in files for which `wanted` returns True, and return their number.

    It reads the whole store, and keeps all running fetches from storing. OSError if any entry cannot be removed.
    """
    if not zone.lists:
        raise OSError("its storage cannot list its entries")
    zone.renew()
    zone.share.invalidate_all()
    zone.errors.clear()
    found = [(entry.primary, entry.name) for entry in zone.entries() if wanted(entry)]
    indexes = {primary for primary, name in found if name != primary}
    count, failed = 0, None
    for primary, name in found + [(primary, primary) for primary in indexes]:
        try:
            count += zone.remove(primary, name, invalidate=True) and (name != primary or primary not in indexes)
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed
    return count


def matches(entry: Entry, pattern: str) -> bool:
    """Return True if a pattern, as text or as a shell pattern, matches this entry."""
    known = names(entry)
    return pattern in known or any(fnmatch.fnmatchcase(name, pattern) for name in known)


def names(entry: Entry) -> tuple[str, str, str]:
    """Return an entry's key, target and URL."""
    return entry.key, entry.uri, entry.target or entry.key.partition(" ")[0]
