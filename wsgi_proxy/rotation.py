"""Smooth weighted round robin, the tie breaker of every policy, plainly: one walk over the peers for each choice.

Rules (ngx_http_upstream_round_robin):
- At each choice everyone who fits grows by its effective weight; the largest is taken, the first one on a tie, and pays
  for all of them. Weights 5, 1, 1 give 1 1 2 1 3 1 1.
- An effective weight that failures brought down is regained by one at each choice.
"""

from __future__ import annotations

from collections.abc import Iterable

from .peers import Peer


def round_robin(candidates: Iterable[Peer]) -> Peer | None:
    """One step of smooth weighted round robin: everyone grows by its weight, the largest is taken and pays for all."""
    best = None
    total: float = 0
    for peer in candidates:
        effective = peer.effective
        peer.current += effective
        total += effective
        if effective < peer.weight:
            peer.effective = min(effective + 1, peer.weight)
        if best is None or peer.current > best.current:
            best = peer
    if best is not None:
        best.current -= total
    return best
