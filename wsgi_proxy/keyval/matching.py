"""The record keys that match a looked-up key, by the type of a `keyval_zone` (ngx_http_keyval_module).

Rules:
- `string`: the same key. `ip`: an address, or the smallest network that holds it. `prefix`: the longest key that begins the
  looked-up key.
- The cost of a look-up grows with the number of different lengths, not with the number of keys.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Protocol

KINDS = ("string", "ip", "prefix")


class Matching(Protocol):
    """An index of record keys."""

    def add(self, key: bytes) -> None: ...

    def discard(self, key: bytes) -> None: ...

    def find(self, key: bytes) -> bytes | None: ...


def accepts(kind: str, key: bytes) -> bool:
    """Return True if a record of a zone of this type may have the key."""
    return bool(key) and (kind != "ip" or _network(key) is not None)


def matching(kind: str) -> Matching | None:
    """Return an empty index for a type; None for `string`, which needs none."""
    return None if kind == "string" else Networks() if kind == "ip" else Prefixes()


_Place = tuple[int, int]
"""(IP version, prefix length)."""


def _network(key: bytes) -> tuple[_Place, int] | None:
    """Return the place and the first bits of an address or network; None for another text."""
    try:
        network = ipaddress.ip_network(key.decode("ascii"), strict=False)
    except ValueError:
        return None
    length = network.prefixlen
    return (network.version, length), int(network.network_address) >> (network.max_prefixlen - length)


class Networks:
    """Record keys that are addresses and networks."""

    def __init__(self) -> None:
        self._places: dict[_Place, dict[int, list[bytes]]] = {}
        self._lengths: dict[int, tuple[int, ...]] = {4: (), 6: ()}

    def add(self, key: bytes) -> None:
        found = _network(key)
        if found is None:
            return
        place, bits = found
        if place not in self._places:
            self._places[place] = {}
            self._order(place[0])
        # Several texts may name one network; the last one counts.
        keys = self._places[place].setdefault(bits, [])
        self._places[place][bits] = [other for other in keys if other != key] + [key]

    def discard(self, key: bytes) -> None:
        found = _network(key)
        if found is None or found[0] not in self._places:
            return
        place, bits = found
        keys = [other for other in self._places[place].get(bits, ()) if other != key]
        if keys:
            self._places[place][bits] = keys
            return
        self._places[place].pop(bits, None)
        if not self._places[place]:
            del self._places[place]
            self._order(place[0])

    def _order(self, version: int) -> None:
        lengths = (length for known, length in list(self._places) if known == version)
        self._lengths[version] = tuple(sorted(lengths, reverse=True))

    def find(self, key: bytes) -> bytes | None:
        try:
            address = ipaddress.ip_address(key.decode("ascii"))
        except ValueError:
            return None
        number, width = int(address), address.max_prefixlen
        for length in self._lengths[address.version]:
            keys = self._places.get((address.version, length), {}).get(number >> (width - length))
            if keys:
                return keys[-1]
        return None


class Prefixes:
    """Record keys that are prefixes of looked-up keys."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._counts: Counter[int] = Counter()
        self._lengths: tuple[int, ...] = ()

    def add(self, key: bytes) -> None:
        if key not in self._keys:
            self._keys.add(key)
            self._count(len(key), 1)

    def discard(self, key: bytes) -> None:
        if key in self._keys:
            self._keys.discard(key)
            self._count(len(key), -1)

    def _count(self, length: int, by: int) -> None:
        self._counts[length] += by
        if self._counts[length] in (0, by):
            self._counts += Counter()
            self._lengths = tuple(sorted(self._counts, reverse=True))

    def find(self, key: bytes) -> bytes | None:
        for length in self._lengths:
            if key[:length] in self._keys:
                return key[:length]
        return None
