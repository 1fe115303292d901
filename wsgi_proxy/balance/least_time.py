"""The method least_time: the shortest estimated response time (ngx_http_upstream_module, least_time).

Rules:
- The averages are those of health.py and shared by all workers. The waiting times of unfinished requests are per worker.
- The arithmetic is nginx's, with integers in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import config
from .health import HEADER_MS, LAST_MS, moving_average
from .peers import Peer, PeerGroup, Tried
from .rotation import round_robin


class LeastTime:
    """The policy for a small group: the average response time, times one more than the open connections, per weight.

    The option `header` measures until the response header, `last_byte` until the end of the response. `inflight` includes the
    time that unfinished requests have waited so far.
    """

    measures = True

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group
        self.column = LAST_MS if "last_byte" in policy.options else HEADER_MS
        self.inflight = Inflight(len(group.peers), group) if "inflight" in policy.options else None

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None:
        """Return a fitting peer with the shortest estimate per weight; None if no peer fits."""
        candidates = self.group.candidates(tried)
        if not candidates:
            return None
        if self.inflight is not None:
            self.inflight.observe(candidates)
        best_eta, best_weight = self.estimate(candidates[0], now), candidates[0].weight
        tied: list[Peer] = []
        for peer in candidates:
            eta = self.estimate(peer, now)
            ours, theirs = eta * best_weight, best_eta * peer.weight
            if ours < theirs:
                best_eta, best_weight = eta, peer.weight
                tied = [peer]
            elif ours == theirs:
                tied.append(peer)
        return tied[0] if len(tied) == 1 else round_robin(tied)

    def estimate(self, peer: Peer, now: int) -> int:
        """Return the estimated time, in milliseconds, until the peer has answered one more request."""
        health, index = self.group.health, peer.index
        milliseconds = health.average(self.column, index)
        timeout = int(peer.server.fail_timeout)
        idle = health.unchecked_for(index, now)
        if idle > timeout:
            # The average of an unused peer halves once per fail_timeout, so that a slow peer is tried again.
            milliseconds >>= min(idle // (timeout + 1), 64)
        if self.inflight is not None:
            milliseconds = max(milliseconds, self.inflight.average(peer))
        # Steps of 20 ms make nearly equal peers take turns. Times above 5 s count as equal.
        milliseconds = 5000 if milliseconds > 5000 else milliseconds + 20 - milliseconds % 20
        return milliseconds * (1 + self.group.conns[index])


class Inflight:
    """The average waiting time of this worker's unfinished requests, per peer, in milliseconds."""

    def __init__(self, count: int, group: PeerGroup) -> None:
        self.group = group
        self._clock = group.clock
        self._open = [0] * count
        self._waited = [0] * count
        self._changed = [0] * count
        self._average = [0] * count

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def average(self, peer: Peer) -> int:
        """Return the average of a peer in milliseconds; 0 if it has no unfinished request."""
        at = peer.order
        return self._average[at] if self._open[at] else 0

    def observe(self, peers: Sequence[Peer]) -> None:
        """Take a sample of each peer's unfinished requests. nginx does so at every choice."""
        now = self._now()
        for peer in peers:
            at = peer.order
            if self._open[at]:
                sample = self._waited[at] // self._open[at] + now - self._changed[at]
                self._average[at] = moving_average(self._average[at], sample)

    def begin(self, peer: Peer) -> int:
        """Count a request that goes to the peer. Return the time, in milliseconds, to pass to `end`."""
        now, at = self._now(), peer.order
        self._waited[at] += (now - self._changed[at]) * self._open[at]
        self._changed[at] = now
        self._open[at] += 1
        return now

    def end(self, peer: Peer, begun: int) -> None:
        """Count the end of a request that began at `begun`."""
        now, at = self._now(), peer.order
        if self._open[at] == 1:
            self._waited[at] = 0
        else:
            self._waited[at] += (now - self._changed[at]) * self._open[at] - (now - begun)
            self._changed[at] = now
        self._open[at] -= 1
