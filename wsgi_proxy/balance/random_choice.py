"""The method random: a random peer, or the better of two (ngx_http_upstream_module, random)."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Final

from .. import config
from .least_time import LeastTime
from .peers import Peer, PeerGroup, Tried
from .rotation import round_robin

_MISSES: Final = 20
"""The number of draws of peers that do not fit after which nginx falls back to round robin."""


class Random:
    """A random choice in proportion to the weights.

    The option `two` draws two different peers and takes the one with fewer open connections per weight (`least_conn`, the
    default) or with the shorter estimated time (`least_time=header`, `least_time=last_byte`).
    """

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group
        self.two = "two" in policy.options
        self._until = list(accumulate(peer.nominal for peer in group.peers))
        timed = [option[len("least_time=") :] for option in policy.options if option.startswith("least_time=")]
        self._time = LeastTime(group, config.Policy("least_time", options=(timed[0],))) if timed else None
        self.measures = bool(timed)

    def _draw(self) -> Peer:
        return self.group.peers[bisect_right(self._until, int(self.group.dice.random() * self._until[-1]))]

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return a random peer that fits; None if no peer fits."""
        group = self.group
        if len(group.peers) < 2:
            return round_robin(group.candidates(tried))
        first: Peer | None = None
        for _ in range(_MISSES + 1):
            peer = self._draw()
            if peer is first or not group.fits(peer, tried):
                continue
            if not self.two:
                return peer
            if first is not None:
                return first if self._load(peer, now) * first.nominal > self._load(first, now) * peer.nominal else peer
            first = peer
        return round_robin(group.candidates(tried))

    def _load(self, peer: Peer, now: int) -> int:
        return self._time.estimate(peer, now) if self._time else self.group.conns[peer.index]
