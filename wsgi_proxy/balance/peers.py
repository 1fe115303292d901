"""Peer: one address of an upstream. Group: the peers a policy chooses among (the servers, or the backups).

Rules:
- A Group holds who may be chosen now, in the configuration's order; health changes it, policies only read it.
- What differs from request to request (already tried, full) is asked of the Group, the same way by all policies.
- Weights that nginx calls current and effective live on the Peer, in this worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from ..config import Server

if TYPE_CHECKING:
    from .health import Health
    from .rotation import Rotation

Address = tuple[str, int] | str
Tried = Collection["Peer"] | None


class Dice(Protocol):
    """The part of `random.Random` that policies use."""

    def random(self) -> float: ...


class Peer:
    """One address that can be connected to. `name` is what $upstream_addr shows; `host` is for Host and SNI."""

    __slots__ = (
        "address", "backup", "current", "effective", "failures", "full", "group", "host", "index", "name", "nominal", "offset",
        "order", "rank", "ready", "rotation", "scheme", "server", "sid", "suspect", "weight",
    )  # fmt: skip

    def __init__(self, server: Server, address: Address, name: str, host: str, scheme: str = "", index: int = 0) -> None:
        """`index` is its column in the pool's shared numbers."""
        self.server = server
        self.address = address
        self.name = name
        self.host = host
        self.scheme = scheme
        """`http` or `https` when the server was given as a URL, else empty."""
        self.index = index
        self.order = index
        """Its place in the group, which settles ties."""
        self.sid = server.route or hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        self.backup = server.backup
        self.nominal = server.weight
        self.full = float(server.weight)
        """`nominal` for rotation.py, which reckons in floats alone: exact, as long as they are whole, up to 2**53."""
        self.weight = float(server.weight)
        """The weight in force: less than `nominal` while a recovered server is brought in slowly."""
        self.effective = float(server.weight)
        """The weight after failures, regained by one per round."""
        self.current = 0.0
        self.failures = 0
        """How many of its failures are already taken off `effective`."""
        self.ready = True
        self.suspect = False
        """It has failures that a success may clear: its picks and settles are to be written down."""
        self.group: PeerGroup | None = None
        # Kept by rotation.py:
        self.rotation: Rotation | None = None
        self.offset = 0.0
        self.rank = 0.0
        """What ranking.py has it under, while it is in a rotation."""

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"


class PeerGroup:
    """Peers of one rank, and who of them may be chosen now."""

    __slots__ = ("clock", "conns", "dice", "health", "limited", "peers", "ready")

    def __init__(self, peers: Sequence[Peer], conns: list[int], health: Health, dice: Dice, clock: Callable[[], float]) -> None:
        self.peers = list(peers)
        self.conns = conns
        """Open connections by `Peer.index`, of the whole pool."""
        self.health = health
        self.dice = dice
        self.clock = clock
        self.ready: list[Peer] = [peer for peer in peers if peer.ready]
        self.limited = any(peer.server.max_conns for peer in peers)
        for order, peer in enumerate(peers):
            peer.group = self
            peer.order = order
            peer.rotation = None

    def fits(self, peer: Peer, tried: Tried) -> bool:
        """Whether the peer may be chosen for a request that tried `tried` before."""
        if not peer.ready or (tried and peer in tried):
            return False
        limit = peer.server.max_conns
        return not limit or self.conns[peer.index] < limit

    def candidates(self, tried: Tried) -> list[Peer]:
        """All that may be chosen, in the configuration's order. Do not change the list."""
        if not tried and not self.limited:
            return self.ready
        return [peer for peer in self.ready if self.fits(peer, tried)]


def without_scheme(address: str) -> str:
    """Return a server's address as nginx writes it: without the scheme and the final slash."""
    _, colons, rest = address.partition("://")
    return rest.rstrip("/") if colons else address
