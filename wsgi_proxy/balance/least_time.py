"""The policy least_time: the shortest estimated time to an answer, and what it is estimated from.

Rules (ngx_http_upstream_module, `least_time`):
- Averages are those of health.py, shared by all workers; what unfinished requests have waited is this worker's own.
- nginx's integer arithmetic, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import config
from .health import HEADER_MS, LAST_MS, moving_average
from .peers import Peer, PeerGroup, Tried
from .rotation import round_robin


class LeastTime:
    """Least estimated time to an answer: the average response time times the requests to be waited for, per weight.

    Options: `header` or `last_byte`, and `inflight`, which takes the time that unfinished requests have waited so far
    for an average too."""

    measures = True

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group
        self.column = LAST_MS if "last_byte" in policy.options else HEADER_MS
        self.inflight = Inflight(len(group.peers), group) if "inflight" in policy.options else None

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
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
        """Milliseconds until the peer would have answered one more request."""
        health, index = self.group.health, peer.index
        milliseconds = health.average(self.column, index)
        timeout = int(peer.server.fail_timeout)
        idle = health.unchecked_for(index, now)
        if idle > timeout:
            # Not used for long: halve it once per fail_timeout, so that a slow peer gets its chance.
            milliseconds >>= min(idle // (timeout + 1), 64)
        if self.inflight is not None:
            milliseconds = max(milliseconds, self.inflight.average(peer))
        # Steps of 20 ms, so that nearly equal peers take turns; beyond 5 s all are equally bad.
        milliseconds = 5000 if milliseconds > 5000 else milliseconds + 20 - milliseconds % 20
        return milliseconds * (1 + self.group.conns[index])


class Inflight:
    """How long the requests that this worker has open have waited so far, per peer; averages in ms."""

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
        at = peer.order
        return self._average[at] if self._open[at] else 0

    def observe(self, peers: Sequence[Peer]) -> None:
        """Take a sample of each peer's unfinished requests; nginx does so at every choice."""
        now = self._now()
        for peer in peers:
            at = peer.order
            if self._open[at]:
                sample = self._waited[at] // self._open[at] + now - self._changed[at]
                self._average[at] = moving_average(self._average[at], sample)

    def begin(self, peer: Peer) -> int:
        """A request goes to the peer; the time, ms, for its `end`."""
        now, at = self._now(), peer.order
        self._waited[at] += (now - self._changed[at]) * self._open[at]
        self._changed[at] = now
        self._open[at] += 1
        return now

    def end(self, peer: Peer, begun: int) -> None:
        """A request that began then has ended."""
        now, at = self._now(), peer.order
        if self._open[at] == 1:
            self._waited[at] = 0
        else:
            self._waited[at] += (now - self._changed[at]) * self._open[at] - (now - begun)
            self._changed[at] = now
        self._open[at] -= 1
