"""The variable of a `keyval` directive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Template
    from ..exchange import Exchange
    from .zone import Zone


class Keyval:
    """`keyval key $variable zone=name`: the value of the zone for the key, evaluated at each use."""

    volatile = True

    def __init__(self, key: Template, zone: str) -> None:
        self._key = key
        self.zone = zone
        self.table: Zone | None = None
        """The zone at work; None before the proxy is made."""

    def __call__(self, exchange: Exchange) -> str:
        if self.table is None:
            return ""
        found = self.table.find(self._key(exchange).encode("latin-1", "replace"))
        return "" if found is None else found.decode("latin-1")
