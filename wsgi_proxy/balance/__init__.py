"""Balancing policies, and the health of the peers."""

from .health import DOWN, DRAIN, EPOCH, FIRST_FAILS, GOOD, HEADER_MS, LAST_MS, UP, Health, Standing, size
from .least_time import Inflight
from .peers import Address, Dice, Peer, PeerGroup, Tried
from .policies import POLICIES, Balancer, balancer, conflicts, walking
from .ranking import Ranked
from .shared_turns import SHARED_MAX, SharedTurns

__all__ = [
    "Address",
    "Balancer",
    "DOWN",
    "DRAIN",
    "Dice",
    "EPOCH",
    "FIRST_FAILS",
    "GOOD",
    "PeerGroup",
    "HEADER_MS",
    "Health",
    "Inflight",
    "LAST_MS",
    "POLICIES",
    "Peer",
    "Ranked",
    "SHARED_MAX",
    "SharedTurns",
    "Standing",
    "Tried",
    "UP",
    "balancer",
    "conflicts",
    "size",
    "walking",
]
