"""The methods ip_hash and hash, which keep a client or a key with one server (ngx_http_upstream_module, ip_hash and hash).

Rules:
- The hash selects among all peers, available or not, so that the failure of a peer moves only its own keys.
- A retry continues the search where the last attempt ended, so the state of the search is kept with the request.
- Round robin serves after 20 misses, with fewer than two peers, or without a key.
"""

from __future__ import annotations

import socket
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Any
from zlib import crc32

from .. import config
from .peers import Peer, PeerGroup, Tried, without_scheme
from .rotation import round_robin

_MISSES = 20


class Walk(set[Peer]):
    """The value of `Exchange.tried` under these policies: the tried peers, and the state of the search."""

    __slots__ = ("group", "hash", "misses", "round")

    def __init__(self, group: PeerGroup, start: int) -> None:
        self.group = group
        self.hash = start
        self.misses = 0
        self.round = 0


def _walk(exchange: Any, group: PeerGroup, start: int) -> Walk:
    walk = exchange.tried
    if not isinstance(walk, Walk) or walk.group is not group:
        tried = walk or ()
        walk = exchange.tried = Walk(group, start)
        walk.update(tried)
    return walk


class _ByNumber:
    """The common part of the methods: a number modulo the sum of all weights selects a peer."""

    def __init__(self, group: PeerGroup) -> None:
        self.group = group
        self._until = list(accumulate(peer.nominal for peer in group.peers))

    def at(self, number: int) -> Peer:
        until = self._until
        return self.group.peers[bisect_right(until, number % until[-1])]

    def fall_back(self, tried: Tried) -> Peer | None:
        return round_robin(self.group.candidates(tried))


class IPHash(_ByNumber):
    """The hash of the client's address: the first three bytes of IPv4, all bytes of IPv6."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        super().__init__(group)

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        group = self.group
        walk = _walk(exchange, group, 89)
        if walk.misses > _MISSES or len(group.peers) < 2:
            return self.fall_back(tried)
        address = _address_bytes(exchange.remote_addr)
        number = walk.hash
        while True:
            for byte in address:
                number = (number * 113 + byte) % 6271
            peer = self.at(number)
            if group.fits(peer, tried):
                walk.hash = number
                return peer
            walk.misses += 1
            if walk.misses > _MISSES:
                return self.fall_back(tried)


def _address_bytes(address: str) -> bytes:
    try:
        if ":" in address:
            return socket.inet_pton(socket.AF_INET6, address)
        return socket.inet_aton(address)[:3]
    except OSError:
        return b"\0\0\0"  # the client of a unix socket


class Hash(_ByNumber):
    """The CRC-32 of the key. After each miss, the key is hashed again with a counter in front."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        super().__init__(group)
        self._key = _template(policy)

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        group = self.group
        key = self._key(exchange).encode("latin-1", "replace")
        walk = _walk(exchange, group, 0)
        if walk.misses > _MISSES or len(group.peers) < 2 or not key:
            return self.fall_back(tried)
        while True:
            prefix = b"%d" % walk.round if walk.round else b""
            walk.hash += crc32(prefix + key) >> 16 & 0x7FFF
            walk.round += 1
            peer = self.at(walk.hash)
            if group.fits(peer, tried):
                return peer
            walk.misses += 1
            if walk.misses > _MISSES:
                return self.fall_back(tried)


class ConsistentHash(_ByNumber):
    """A ring of 160 points per weight and server (ketama), so that a new server takes over only its share of the keys."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        super().__init__(group)
        self._key = _template(policy)
        owners: dict[str, list[Peer]] = {}
        for peer in group.peers:
            owners.setdefault(without_scheme(peer.server.address), []).append(peer)
        points: dict[int, list[Peer]] = {}
        for address, peers in owners.items():
            for point in _points(address, peers[0].nominal * 160):
                points.setdefault(point, peers)
        self._points = sorted(points)
        self._owners = [points[point] for point in self._points]

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        group = self.group
        key = self._key(exchange).encode("latin-1", "replace")
        if len(group.peers) < 2 or not key:
            return self.fall_back(tried)
        walk = _walk(exchange, group, -1)
        if walk.hash < 0:
            walk.hash = bisect_left(self._points, crc32(key))
        while walk.misses <= _MISSES:
            owners = self._owners[walk.hash % len(self._owners)]
            peer = round_robin([peer for peer in owners if group.fits(peer, tried)])
            if peer is not None:
                return peer
            walk.hash += 1
            walk.misses += 1
        return self.fall_back(tried)


def _points(address: str, count: int) -> list[int]:
    """Return the points of a server: a chain of CRC-32 over the host, the port and the previous point."""
    if address[:5].lower() == "unix:":
        host, port = address[5:], ""
    else:
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit():
            host, port = address, ""
    base = crc32(f"{host}\0{port}".encode())
    points = []
    previous = 0
    for _ in range(count):
        previous = crc32(previous.to_bytes(4, "little"), base)
        points.append(previous)
    return points


def hash_policy(group: PeerGroup, policy: config.Policy) -> Hash | ConsistentHash:
    """Return the policy of the method hash, with or without `consistent`."""
    return (ConsistentHash if "consistent" in policy.options else Hash)(group, policy)


def _template(policy: config.Policy) -> config.Template:
    if policy.key is None:
        raise ValueError("the balancing method hash needs a key")
    return policy.key
