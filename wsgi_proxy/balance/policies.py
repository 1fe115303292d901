"""The policies: whom to ask next. nginx's methods, choice for choice (upstream modules round_robin, least_conn,
least_time, random; the hashes are in balance_hash.py), and any function of yours.

Rules:
- A policy is made once per Group and asked by `pick(x, tried, now)`: a Peer of the group that fits, or None.
- Ties are settled by smooth weighted round robin among the tied, the first in the configuration's order first.
- All integers, compared by cross-multiplying, so that no choice hangs on rounding.
- One line in POLICIES at the foot makes a policy; the contract test runs over that table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Protocol

from .. import config
from ..errors import ConfigError, Fault
from .hashing import ConsistentHash, Hash, IPHash
from .least_time import LeastTime
from .peers import Peer, PeerGroup, Tried
from .ranking import Ranked
from .rotation import grow, round_robin

WALKED_MAX = 16
"""Groups up to this size are walked for each choice; larger ones are kept in order (ranking.py)."""

MISSES = 20
"""After so many draws of peers that do not fit, nginx falls back to round robin."""


class Balancer(Protocol):
    """What POLICIES makes: `Balancer(group, policy)`."""

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None: ...


class RoundRobin:
    """In turn, by weight."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
        return round_robin(self.group.candidates(tried))

    def stay(self, peer: Peer, tried: Tried) -> None:
        """A session stays with its peer: that was its turn, unless it is too far in debt already."""
        if peer.current > peer.nominal - sum(each.nominal for each in self.group.peers):
            total = grow(self.group.candidates(tried))
            peer.current -= total


class LeastConn:
    """Fewest open connections per weight."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
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


class RankedByConns(Ranked):
    """LeastConn for a large group."""

    def rank(self, peer: Peer, now: int) -> float:
        return self.group.conns[peer.index] / peer.weight


class RankedByTime(Ranked):
    """LeastTime for a large group."""

    def __init__(self, group: PeerGroup, walking: LeastTime) -> None:
        super().__init__(group, ages=True)
        self._walking = walking

    def rank(self, peer: Peer, now: int) -> float:
        return self._walking.estimate(peer, now) / peer.weight


class Random:
    """By lot, in proportion to the weights. Options: `two` draws two different peers and takes the one with fewer open
    connections per weight (`least_conn`, the default), or the shorter estimate (`least_time=header|last_byte`)."""

    def __init__(self, group: PeerGroup, policy: config.Policy) -> None:
        self.group = group
        self.two = "two" in policy.options
        self._until = list(accumulate(peer.nominal for peer in group.peers))
        timed = [option[len("least_time=") :] for option in policy.options if option.startswith("least_time=")]
        self._time = LeastTime(group, config.Policy("least_time", options=(timed[0],))) if timed else None
        self.measures = bool(timed)

    def _draw(self) -> Peer:
        return self.group.peers[bisect_right(self._until, int(self.group.dice.random() * self._until[-1]))]

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
        group = self.group
        if len(group.peers) < 2:
            return round_robin(group.candidates(tried))
        first: Peer | None = None
        for _ in range(MISSES + 1):
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


class Custom:
    """A function of the user's, or an object with such a method `pick`: `f(servers, exchange) -> Server`.

    It gets the servers that fit, in the configuration's order, and returns one of them. None means: none of them.
    A server with several addresses appears once; they take turns."""

    def __init__(self, group: PeerGroup, function: Callable[[list[config.Server], Any], config.Server | None]) -> None:
        self.group = group
        self.function = function

    def pick(self, x: Any, tried: Tried, now: int) -> Peer | None:
        by_server: dict[int, list[Peer]] = {}
        for peer in self.group.candidates(tried):
            by_server.setdefault(id(peer.server), []).append(peer)
        if not by_server:
            return None
        chosen = self.function([peers[0].server for peers in by_server.values()], x)
        if chosen is None:
            return None
        peers = by_server.get(id(chosen))
        if peers is None:
            raise TypeError(f"the balancing policy returned {chosen!r}, which is not one of the servers it was given")
        return round_robin(peers)


def walking(policy: config.Policy | str | Callable[..., Any] | Any, group: PeerGroup) -> Balancer | None:
    """The policy as a walk over the group, whatever its size; None when it is none of those that take turns."""
    if isinstance(policy, str):
        policy = config.Policy(policy)
    if not isinstance(policy, config.Policy) or policy.name not in WALKS:
        return None
    return WALKS[policy.name](group, policy)


def balancer(policy: config.Policy | str | Callable[..., Any] | Any, group: PeerGroup) -> Balancer:
    """The policy at work on one group. `policy` is a `config.Policy`, a name of POLICIES, `"package.module:thing"`, a function
    `f(servers, exchange)`, or an object with such a `pick`. ValueError for an unknown name."""
    if isinstance(policy, str):
        policy = config.Policy(policy)
    if not isinstance(policy, config.Policy):
        return Custom(group, getattr(policy, "pick", policy))
    make = POLICIES.get(policy.name)
    if make is None:
        if ":" not in policy.name:
            raise ValueError(f'unknown balancing method "{policy.name}"')
        thing = config.plugins.load(policy.name, _instance)
        return Custom(group, getattr(thing, "pick", thing))
    return make(group, policy)


def check(servers: Sequence[config.Server], policy: config.Policy | str | Callable[..., Any] | Any, name: str) -> None:
    """ConfigError when these servers and this policy do not go together, in nginx's words."""
    if not any(not server.backup for server in servers):
        raise ConfigError(Fault(f'no servers are inside upstream "{name}"'))
    method = policy.name if isinstance(policy, config.Policy) else policy
    if method not in ("hash", "ip_hash", "random"):
        return
    for server in servers:
        for parameter, given in (("backup", server.backup), ("slow_start", server.slow_start)):
            if given:
                message = f'balancing method does not support parameter "{parameter}"'
                raise ConfigError(Fault(message, server.place.file, server.place.line))


def _instance(thing: Any) -> Any:
    return thing() if isinstance(thing, type) else thing


WALKS: dict[str, Callable[[PeerGroup, config.Policy], Balancer]] = {
    "round_robin": RoundRobin,
    "least_conn": LeastConn,
    "least_time": LeastTime,
}


def _round_robin(group: PeerGroup, policy: config.Policy) -> Balancer:
    if len(group.peers) <= WALKED_MAX:
        return RoundRobin(group, policy)
    return Ranked(group, by_conns=False, always_turn=True)


def _least_conn(group: PeerGroup, policy: config.Policy) -> Balancer:
    if len(group.peers) <= WALKED_MAX:
        return LeastConn(group, policy)
    return RankedByConns(group)


def _least_time(group: PeerGroup, policy: config.Policy) -> Balancer:
    walking = LeastTime(group, policy)
    if len(group.peers) <= WALKED_MAX or walking.inflight is not None:
        return walking
    return RankedByTime(group, walking)


def _hash(group: PeerGroup, policy: config.Policy) -> Balancer:
    return (ConsistentHash if "consistent" in policy.options else Hash)(group, policy)


POLICIES: dict[str, Callable[[PeerGroup, config.Policy], Balancer]] = {
    "round_robin": _round_robin,
    "least_conn": _least_conn,
    "least_time": _least_time,
    "random": Random,
    "ip_hash": IPHash,
    "hash": _hash,
}
