"""Sets of networks, and the addresses that are looked up in them.

Rules:
- Addresses are compared as numbers, an IPv4-mapped IPv6 address as the IPv4 address inside it (ngx_http_access_module, allow).
  "unix:" stands for a client on a unix socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ..net import address_number, packed_address

UNIX = (0, 0)
"""The result of `number` for a client on a unix socket."""


def number(address: str) -> tuple[int, int] | None:
    """Return (bits, value) of an IP address, `UNIX` for "" and "unix:", None for anything else."""
    packed = packed_address(address)
    if packed is None:
        return UNIX if not address or address.startswith("unix:") else None
    return address_number(packed)


class Networks:
    """A set of networks: `ipaddress` networks, "unix:" or "all"."""

    __slots__ = ("_all", "_ranges")

    def __init__(self, networks: Iterable[Any]) -> None:
        self._ranges: list[tuple[int, int, int]] = []
        self._all = False
        for network in networks:
            if network == "all":
                self._all = True
            elif network == "unix:":
                self._ranges.append((0, 0, 0))
            else:
                self._ranges.append(bounds(network))

    def __contains__(self, where: tuple[int, int] | None) -> bool:
        if where is None:
            return self._all
        bits, value = where
        return self._all or any(bits == width and low <= value <= high for width, low, high in self._ranges)


def bounds(network: IPv4Network | IPv6Network) -> tuple[int, int, int]:
    """Return (bits, lowest, highest) of a network."""
    return network.max_prefixlen, int(network.network_address), int(network.broadcast_address)
