"""Finding the entry that fits a request, in memory or in the storage, and the name by which its misses meet.

Rules:
- A copy in memory counts only while its slot's state is the one under which it was read, its file exists and its directory is the
  cache's present one.
- A key with variants has an index under its name. Each variant lies under a name made of the index, the selecting fields and the
  request's values of them (RFC 9111, section 4.1).
- An entry whose target was voided since it was fetched counts as absent (RFC 9111, section 4.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rfc9111 import Request, selection_of
from .storage import Entry, Share, VaryIndex, digest_of, fill_name

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .zone import ZoneCache


def find(zone: ZoneCache, key: str, request: Request, exchange: Exchange | None = None) -> tuple[Entry | None, str]:
    """Return (the entry that fits the request, fresh or stale, or None; the name of the request's fill).

    The name is "" if it was not needed to find the entry; `fill_name` returns it then.
    """
    copy = zone.memory.get(key)
    if copy is not None and zone.share.states[copy.slot] == copy.state:
        entry = copy.entry
        if entry is None and copy.variants:
            entry = copy.variants.get(selection_of(request, copy.spec))
        if entry is not None:
            if zone.store.holds(entry) and zone.share.current() and not _is_void(zone, entry, exchange):
                copy.used = True
                return entry, ""
            zone.memory.forget(key)
    try:
        zone.renew()
    except OSError as error:
        zone.fault("share", error, exchange)
    primary = digest_of(key)
    slot = Share.slot_of(primary)
    # Read before the storage is, so that a change between the two makes the copy outdated, not current.
    state = zone.share.states[slot]
    stored = zone.load(primary, exchange)
    if stored is None or stored.key != key:
        return None, primary
    if isinstance(stored, Entry):
        if _is_void(zone, stored, exchange):
            return None, primary
        if stored.spec and stored.selection != selection_of(request, stored.spec):
            return None, fill_name(key, stored.spec, selection_of(request, stored.spec))
        zone.memory.put(key, stored, slot, state)
        return stored, primary
    found, name = _variant(zone, stored, request, exchange)
    if found is not None and len(stored.specs) == 1:
        zone.memory.put(key, found, slot, state)
    return found, name


def _variant(zone: ZoneCache, index: VaryIndex, request: Request, exchange: Exchange | None) -> tuple[Entry | None, str]:
    """Return the newest variant that the request selects (RFC 9111, section 4.1), and the name of its fill."""
    wanted = [(spec, selection_of(request, spec)) for spec in index.specs]
    loaded = [zone.load(index.name_of(spec, selection), exchange) for spec, selection in wanted]
    # The name is a digest of the variant. The head must confirm it.
    found = [
        each
        for each, (spec, selection) in zip(loaded, wanted, strict=True)
        if isinstance(each, Entry) and (each.key, each.spec, each.selection) == (index.key, spec, selection)
    ]
    found = [each for each in found if not _is_void(zone, each, exchange)]
    if not found:
        return None, fill_name(index.key, *wanted[0]) if wanted else index.primary
    best = max(found, key=lambda entry: entry.stored_at)
    return best, best.fill_name


def _is_void(zone: ZoneCache, entry: Entry, exchange: Exchange | None) -> bool:
    """Return True if an unsafe request has voided the entry's target since it was fetched."""
    return entry.voided >= 0 and zone.voided(entry.target, exchange) != entry.voided
