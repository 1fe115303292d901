"""The balancing methods in one table, and the policy that a pool's choice needs.

Rules:
- A policy is made once for a PeerGroup. `pick(exchange, tried, now)` returns a peer of the group that fits, or None.
- nginx's methods make nginx's choices. Ties are settled by smooth weighted round robin among the tied peers (rotation.py).
- Numbers are integers and compared by cross-multiplication, so that no choice depends on rounding.
- A new method is a class in a module of this package (least_conn.py is a short example) and a row of POLICIES. The contract test
  in tests/balance/test_policies.py runs over the table. With `directive=True` its name is also a directive of `upstream`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from .. import config
from .custom import Custom
from .hashing import IPHash, hash_policy
from .least_conn import LeastConn
from .least_time import LeastTime
from .peers import Peer, PeerGroup, Tried
from .random_choice import Random
from .ranking import RankedByConns, RankedByTurn, ranked_by_time
from .rotation import RoundRobin

WALKED_MAX = 16
"""The largest group in which a policy looks at every peer for each choice. Larger groups are kept in order (ranking.py)."""


class Balancer(Protocol):
    """A policy at work on one group. `now` is in whole seconds since the epoch."""

    def pick(self, exchange: Any, tried: Tried, now: int) -> Peer | None: ...


class Method(NamedTuple):
    """A balancing method: the function that makes its policy, and the arguments that a configuration may give."""

    make: Callable[[PeerGroup, config.Policy], Balancer]
    large: Callable[[PeerGroup, config.Policy], Balancer] | None = None
    """The same choices for a group above WALKED_MAX. A method that has it settles ties by turns, which workers can share."""
    options: tuple[str, ...] = ()
    """The options that `config.Policy` may have."""
    unsupported: tuple[str, ...] = ()
    """Parameters of `server` that the method does not support."""
    directive: bool = False
    """True makes the name a directive of `upstream` without arguments."""


_NO_BACKUP = ("backup", "slow_start")

POLICIES: Final[dict[str, Method]] = {
    "round_robin": Method(RoundRobin, RankedByTurn),
    "least_conn": Method(LeastConn, RankedByConns, directive=True),
    "least_time": Method(LeastTime, ranked_by_time, options=("header", "last_byte", "inflight")),
    "random": Method(Random, options=("two", "least_conn", "least_time=header", "least_time=last_byte"), unsupported=_NO_BACKUP),
    "ip_hash": Method(IPHash, unsupported=_NO_BACKUP, directive=True),
    "hash": Method(hash_policy, options=("consistent",), unsupported=_NO_BACKUP),
}


def _named(policy: config.Policy | str | Callable[..., Any] | Any) -> config.Policy | None:
    if isinstance(policy, str):
        return config.Policy(policy)
    return policy if isinstance(policy, config.Policy) else None


def balancer(policy: config.Policy | str | Callable[..., Any] | Any, group: PeerGroup) -> Balancer:
    """Return the policy for a group.

    `policy` is a `config.Policy`, a name in POLICIES, `"package.module:thing"`, a function `f(servers, exchange)`, or an object
    with such a method `pick`. Raises ValueError for an unknown name.
    """
    named = _named(policy)
    if named is None:
        given: Any = policy
        return Custom(group, getattr(given, "pick", given))
    method = POLICIES.get(named.name)
    if method is None:
        if ":" not in named.name:
            raise ValueError(f'unknown balancing method "{named.name}"')
        thing = config.plugins.load(named.name, _instance)
        return Custom(group, getattr(thing, "pick", thing))
    if method.large is not None and len(group.peers) > WALKED_MAX:
        return method.large(group, named)
    return method.make(group, named)


def walking(policy: config.Policy | str | Callable[..., Any] | Any, group: PeerGroup) -> Balancer | None:
    """Return the policy that looks at every peer, whatever the size of the group; None for a method without turns."""
    named = _named(policy)
    method = POLICIES.get(named.name) if named is not None else None
    return method.make(group, named) if method is not None and named is not None and method.large is not None else None


def _instance(thing: Any) -> Any:
    return thing() if isinstance(thing, type) else thing


def conflicts(
    policy: config.Policy | str | Callable[..., Any] | Any, servers: Sequence[config.Server]
) -> list[tuple[str, config.Server]]:
    """Return nginx's message for each parameter of a server that the method does not support, with the server."""
    named = _named(policy)
    method = POLICIES.get(named.name) if named is not None else None
    if method is None:
        return []
    return [
        (f'balancing method does not support parameter "{parameter}"', server)
        for server in servers
        for parameter in method.unsupported
        if getattr(server, parameter)
    ]
