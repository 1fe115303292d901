"""A peer, one address of an upstream, and the group of peers among which a policy chooses.

Rules:
- A PeerGroup holds the peers that may be chosen now, in the configuration's order. The pool changes it; policies only read it.
- Conditions that differ between requests (tried before, at `max_conns`) are checked by the group, for all policies alike.
- nginx's current and effective weights are attributes of Peer, one set per worker.
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
"""(host, port), or the path of a unix socket."""
Tried = Collection["Peer"] | None
"""The peers that a request has tried."""


class Dice(Protocol):
    """The part of `random.Random` that policies use."""

    def random(self) -> float: ...


class Peer:
    """One address to connect to. `name` is the value of $upstream_addr; `host` is for the Host field and SNI."""

    __slots__ = (
        "address", "backup", "current", "effective", "failures", "full", "group", "host", "index", "name", "nominal", "offset",
        "order", "rank", "ready", "rotation", "scheme", "server", "sid", "suspect", "weight",
    )  # fmt: skip

    def __init__(self, server: Server, address: Address, name: str, host: str, scheme: str = "", index: int = 0) -> None:
        """`index` is the peer's column in the shared numbers of the pool."""
        self.server = server
        self.address = address
        self.name = name
        self.host = host
        self.scheme = scheme
        """`http` or `https` if the server was given as a URL, else empty."""
        self.index = index
        self.order = index
        """The position in the group, which settles ties."""
        self.sid = server.route or hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        self.backup = server.backup
        self.nominal = server.weight
        self.full = float(server.weight)
        """`nominal` as a float, for the arithmetic of rotation.py. It is exact for whole numbers up to 2**53."""
        self.weight = float(server.weight)
        """The weight in force. It is less than `nominal` during the slow start of a recovered server."""
        self.effective = float(server.weight)
        """The weight after failures. Each round gives one back."""
        self.current = 0.0
        self.failures = 0
        """The number of failures already subtracted from `effective`."""
        self.ready = True
        self.suspect = False
        """True if the peer has failures that a success may clear. Its picks and results are then written to shared memory."""
        self.group: PeerGroup | None = None
        # Maintained by rotation.py and ranking.py:
        self.rotation: Rotation | None = None
        self.offset = 0.0
        self.rank = 0.0

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"


class PeerGroup:
    """The servers of an upstream, or its backups, for one policy."""

    __slots__ = ("clock", "conns", "dice", "health", "limited", "peers", "ready")

    def __init__(self, peers: Sequence[Peer], conns: list[int], health: Health, dice: Dice, clock: Callable[[], float]) -> None:
        self.peers = list(peers)
        self.conns = conns
        """Open connections by `Peer.index`, for the whole pool and all workers."""
        self.health = health
        self.dice = dice
        self.clock = clock
        """Seconds since the epoch."""
        self.ready: list[Peer] = [peer for peer in peers if peer.ready]
        self.limited = any(peer.server.max_conns for peer in peers)
        for order, peer in enumerate(peers):
            peer.group = self
            peer.order = order
            peer.rotation = None

    def fits(self, peer: Peer, tried: Tried) -> bool:
        """Return True if the peer may be chosen for a request that has tried `tried`."""
        if not peer.ready or (tried and peer in tried):
            return False
        limit = peer.server.max_conns
        return not limit or self.conns[peer.index] < limit

    def candidates(self, tried: Tried) -> list[Peer]:
        """Return all peers that fit, in the configuration's order. The caller must not change the list."""
        if not tried and not self.limited:
            return self.ready
        return [peer for peer in self.ready if self.fits(peer, tried)]


def without_scheme(address: str) -> str:
    """Return a server's address as nginx writes it: without scheme and final slash."""
    _, colons, rest = address.partition("://")
    return rest.rstrip("/") if colons else address
