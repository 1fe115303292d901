"""The method least_conn: the fewest open connections per weight (ngx_http_upstream_module, least_conn)."""

from __future__ import annotations

from typing import Any

from .. import config
from .peers import Peer, PeerGroup, Tried
from .rotation import round_robin


class LeastConn:
    """The policy for a small group. `ranking.RankedByConns` makes the same choices in a large one."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return a fitting peer with the fewest connections per weight; None if no peer fits."""
        candidates = self.group.candidates(tried)
        if not candidates:
            return None
        conns = self.group.conns
        best = candidates[0]
        best_conns, best_weight = conns[best.index], best.weight
        tied: list[Peer] = []
        for peer in candidates:
            ours = conns[peer.index] * best_weight
            theirs = best_conns * peer.weight
            if ours < theirs:
                best_conns, best_weight = conns[peer.index], peer.weight
                tied = [peer]
            elif ours == theirs:
                tied.append(peer)
        return tied[0] if len(tied) == 1 else round_robin(tied)
