"""A policy of the user's code: a function `f(servers, exchange)` that returns one of the servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import config
from .peers import Peer, PeerGroup, Tried
from .rotation import round_robin


class Custom:
    """The user's function, or the method `pick` of the user's object.

    The function gets the servers that fit, in the configuration's order, and returns one of them, or None for no server. A server
    with several addresses appears once, and its addresses take turns.
    """

    def __init__(self, group: PeerGroup, function: Callable[[list[config.Server], Any], config.Server | None]) -> None:
        self.group = group
        self.function = function

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return a peer of the server that the function chose. Raise TypeError if it returned any other object."""
        by_server: dict[int, list[Peer]] = {}
        for peer in self.group.candidates(tried):
            by_server.setdefault(id(peer.server), []).append(peer)
        if not by_server:
            return None
        return self._choice(by_server, exchange)

    def confirm(self, peer: Peer, exchange: Any) -> Peer | None:
        """Return the only peer of a pool, None if the function chose no server. Raises as `pick`."""
        return self._choice({id(peer.server): [peer]}, exchange)

    def _choice(self, by_server: dict[int, list[Peer]], exchange: Any) -> Peer | None:
        chosen = self.function([peers[0].server for peers in by_server.values()], exchange)
        if chosen is None:
            return None
        peers = by_server.get(id(chosen))
        if peers is None:
            raise TypeError(f"the balancing policy returned {chosen!r}, which is not one of the servers it was given")
        return round_robin(peers)
