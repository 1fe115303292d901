"""The peers of a pool and the state that its workers share: set-up, name resolution, and the results of attempts and checks.

Rules:
- The state that workers must agree on (open connections, failures, response times) lies in shared memory.
- The holder of the pool's lock neither waits nor switches greenlets.
- Names are resolved again in the background (names.py). Peers that stay keep all their numbers.
"""

from __future__ import annotations

import random
import time
from _thread import RLock
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mypy_extensions import mypyc_attr

from ..balance import (
    HEADER_MS,
    LAST_MS,
    SHARED_MAX,
    Balancer,
    Dice,
    Peer,
    PeerGroup,
    SharedTurns,
    Standing,
    balancer,
    walking,
)
from ..errors import ConfigError, Fault
from ..logs import errorlog
from ..shm import SharedMemory, forked_without_exec
from . import arguments
from .columns import Columns
from .lineup import Lineup
from .names import Addresses
from .queue import Queue
from .resolver import SYSTEM, Resolver
from .sticky import sessions_of

if TYPE_CHECKING:
    from .. import config
    from .pool import Lease


class Runtime(NamedTuple):
    """The parts of a pool that the proxy and the tests replace."""

    memory: SharedMemory | None = None
    """The shared memory to use; None for that of this process and its siblings."""
    clock: Callable[[], float] = time.time
    """The function that returns the present time, in seconds since the epoch."""
    dice: Dice | None = None
    """The source of random numbers; None for a new `random.Random`."""
    resolver: Resolver = SYSTEM
    """The source of the addresses of names."""
    sync: bool = False
    """True for a pool whose connections on other machines count, too (`upstream.sync`)."""


DEFAULT_RUNTIME: Final = Runtime()


@mypyc_attr(allow_interpreted_subclasses=True)
class PoolState:
    """The peers of an upstream, their numbers, and the present line-up for the choice. `pool.Pool` chooses from it."""

    def __init__(
        self,
        servers: tuple[config.Server, ...],
        policy: Any,
        name: str,
        sticky: Any,
        queue: int,
        queue_timeout: float,
        shared_turns: bool,
        runtime: Runtime,
    ) -> None:
        self.servers = servers
        self.name = name
        self.policy = policy
        self.sticky = sticky
        self.sessions: Any = sessions_of(sticky, runtime.clock)
        """The sessions that stay with their server (`sticky.Sessions`); None without `sticky`."""
        self.resolver = runtime.resolver
        self.on_tick: Callable[[], None] | None = None
        """A function to call at most once a second during requests. It must not wait."""
        memory = self.memory = runtime.memory or SharedMemory.open("pools")
        self._clock = runtime.clock
        self._dice: Dice = runtime.dice or random.Random()
        self._guard = RLock()
        arguments.check_together(servers, policy, name)
        self._shared_turns = shared_turns
        area = self._area = memory.unique(f"pool/{name}")
        self._lock = memory.lock(area)
        self._gate = memory.lock(f"{area}/gate")
        names = f"{area}/names"
        lock = memory.lock(names)
        self._names = Addresses(servers, runtime.resolver, runtime.clock, lambda size: memory.area(names, size), lock)
        self._columns = Columns(memory, area, self._lock, servers, len(self._names.named), runtime.sync)
        self.counts = self._columns.counts
        self.health = self._columns.health
        self._words = self.health.words
        self._queue = Queue(memory, area, queue, queue_timeout) if queue else None
        try:
            self._install()
        except ValueError as error:
            raise ConfigError(Fault(f"policy: {error}")) from error
        self._second = -1
        if forked_without_exec():
            # A worker claims its slot at once, which also removes the numbers of killed workers.
            memory.join()

    def _install(self, before: Sequence[Peer] = ()) -> None:
        """Create a peer for each known address. Peers of `before` stay the same objects with all their numbers."""
        peers = self._columns.assign(self._names.peers(before), int(self._clock()))
        self._lineup = lineup = Lineup(peers, self._columns, self._group, self._names.suspect)
        self.peers = lineup.peers
        self.single = lineup.single
        self.tries_limit = lineup.tries_limit
        """The default number of attempts per request: one per address that is not down, backups included."""
        plain = self.sticky is None and not (lineup.measures or lineup.single) and lineup.main is not None
        self._plain_pick = lineup.main.pick if plain and lineup.main is not None else None
        """The policy's `pick`, if a first attempt needs nothing else."""
        self._timed = bool(lineup.inflight)

    def _group(self, peers: Sequence[Peer]) -> tuple[PeerGroup, Balancer]:
        """Return a group of peers and its policy."""
        group = PeerGroup(peers, self.counts.totals, self.health, self._dice, self._clock)
        walk = walking(self.policy, group) if self._shared_turns and 1 < len(peers) <= SHARED_MAX else None
        if walk is not None:
            return group, SharedTurns(group, walk, self.memory, self._area, self._lock)
        return group, balancer(self.policy, group)

    def _measure(self, lease: Lease, failed: bool, header_time: float | None, last_byte_time: float | None) -> None:
        """Record the response times for least_time."""
        index = lease.peer.index
        if lease.begun and lease.peer.group in self._lineup.inflight:
            self._lineup.inflight[lease.peer.group].end(lease.peer, lease.begun)
        if failed or header_time is None:
            return
        with self._lock:
            self.health.measured(HEADER_MS, index, int(header_time * 1000))
            if last_byte_time is not None:
                self.health.measured(LAST_MS, index, int(last_byte_time * 1000))

    def _judge(self, peer: Peer, failed: bool, reason: str) -> None:
        """Record a failed attempt, or a successful one at a server with failures. Log a server that goes out or comes back."""
        if self.single and failed:
            return
        now, index, limit = int(self._clock()), peer.index, peer.server.max_fails
        with self._lock:
            before = self.health.fails(index)
            if failed:
                self.health.failed(index, now)
            else:
                self.health.passed(index, now)
            after = self.health.fails(index)
        if limit and (before >= limit) != (after >= limit):
            name = f'server {peer.name} of upstream "{self.name}"'
            if failed:
                last = f", the last: {reason}" if reason else ""
                errorlog.line("error", f"{name} is out for {peer.server.fail_timeout:g} s after {after} failures{last}")
            else:
                errorlog.line("error", f"{name} is back: a request succeeded")

    # --- explaining ----------------------------------------------------------------------------------------------------

    def candidates(self, tried: Any) -> list[str]:
        """Return a line for each peer: its weight, its connections, and the reason for which it may not be used."""
        now = int(self._clock())
        self.counts.sync()
        totals = self.counts.totals
        return [
            f"{peer.name}: weight {peer.nominal}, {totals[peer.index]} connections, {self._state(peer, tried or (), now)}"
            for peer in self.peers
        ]

    def _state(self, peer: Peer, tried: Any, now: int) -> str:
        health, index = self.health, peer.index
        if health.refused(index, peer.server):
            return "down"
        if peer in tried:
            return "tried before"
        if health.barred(index):
            return "out: its health check failed"
        if not self.single and health.closed(index, now):
            return f"out for {max(0, int(health.reopens(index) - now))} s after {health.fails(index)} failures"
        if health.stopped(index, peer.server):
            return "draining: only for its sessions"
        limit = peer.server.max_conns
        if limit and self.counts.totals[index] >= limit:
            return f"full: max_conns is {limit}"
        return "backup" if peer.backup else "may be used"

    # --- keeping up ----------------------------------------------------------------------------------------------------

    def _tick(self, now: int) -> None:
        """Free the slots of dead workers and start a resolution that is due, once a second."""
        self._second = now
        if self.memory.reaped != now:
            self.memory.reaped = now
            self.memory.reap()
        if self.on_tick is not None:
            self.on_tick()
        self._lineup.age(now)
        self.renew()

    @property
    def renews(self) -> bool:
        """True if a name may be resolved again."""
        return bool(self._names.named)

    def renew(self) -> None:
        """Start to resolve the names whose addresses have expired, and do not wait. The upkeep calls it once a second."""
        if self._clock() >= self._names.due:
            self._names.resolve_again(self._take_in)

    def refresh(self) -> bool:
        """Resolve the names if their addresses have expired, and wait for it. Return False if no address is known."""
        if self._clock() >= self._names.due:
            self._names.resolve_now(self._take_in)
        return bool(self.peers)

    def _take_in(self, news: Callable[[], bool]) -> None:
        """Store the result of a resolution, and create new peers if an address has changed. Called in the resolving thread."""
        with self._guard:
            if news():
                self._install(self._lineup.dissolve())

    # --- for active checks and the status page ---------------------------------------------------------------------------

    def checked(self, peer: Peer, good: bool) -> bool:
        """Record the result of an active check. Return True if it is new."""
        with self._guard, self._lock:
            return self.health.checked(peer.index, good, int(self._clock()))

    def force(self, peer: Peer, word: int) -> None:
        """Set the operator's word about a server (`balance.UP`, `DRAIN`, `DOWN`), for all workers until the next reload."""
        with self._guard, self._lock:
            self.health.force(peer.index, word)

    def require_checks(self) -> None:
        """Use no server before it has passed a check (`mandatory`)."""
        with self._guard:
            self.health.mandatory = True
            self._lineup.epoch = -1

    def standing(self) -> list[tuple[Peer, int, bool, Standing]]:
        """Return each peer with its open connections, True if it may be chosen now, and its numbers."""
        with self._guard:
            self.counts.sync()
            self._lineup.refresh(int(self._clock()))
            totals = self.counts.totals
            return [(peer, totals[peer.index], peer.ready, self.health.standing(peer.index)) for peer in self.peers]
