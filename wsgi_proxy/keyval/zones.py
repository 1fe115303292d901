"""All zones of a configuration, their variables, and the synchronization of those with `sync`.

Rules:
- The sessions of `sticky learn` are pairs, too. Their zones are not shown with the others. A full one drops the oldest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..config import KeyvalZone, StickyLearn
from .sync import Rounds
from .zone import Zone

if TYPE_CHECKING:
    from ..cluster import Membership
    from ..config import Config
    from .log import Memory


class Zones:
    """The zones at work in one process. `memory` outlives a reload, so that the pairs do."""

    def __init__(self, config: Config, memory: Memory, membership: Membership | None) -> None:
        self.by_name = {name: Zone(zone, memory, config.prefix) for name, zone in config.keyval_zones.items()}
        for variable in config.keyvals:
            variable.table = self.by_name[variable.zone]
        self.sessions = {
            sticky.zone: Zone(_zone_of(sticky), memory, evicts=True)
            for upstream in config.upstreams.values()
            if isinstance(sticky := upstream.sticky, StickyLearn)
        }
        """The zones of `sticky learn`."""
        if membership is not None:
            zones = (*self.by_name.values(), *self.sessions.values())
            membership.each_round += [Rounds(zone, membership.link) for zone in zones if zone.sync]

    def serve(self, pools: Iterable[Any]) -> None:
        """Give the pools with `sticky learn` the zones of their sessions."""
        for pool in pools:
            if pool.sessions is not None and pool.sessions.learns:
                pool.sessions.table = self.sessions[pool.sessions.zone]


def _zone_of(sticky: StickyLearn) -> KeyvalZone:
    return KeyvalZone(f"sticky {sticky.zone}", sticky.size, sync=sticky.sync, place=sticky.place)
