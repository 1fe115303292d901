"""All zones of a configuration, their variables, and the synchronization of those with `sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        if membership is not None:
            membership.each_round += [Rounds(zone, membership.link) for zone in self.by_name.values() if zone.sync]
