"""Upstreams with `zone … sync`: the machine's leader compares the shared numbers of its pools with those of the other machines.

Rules:
- No request waits for Redis. The workers write results and connections into shared memory as without `sync`. Every ROUND seconds
  the leader finds the changes there, and writes those of the other machines there.
- Failures of all machines count together. A success on one machine clears them on all, and a result of an active check holds for
  all.
- One machine runs the active checks for all (`Membership.holds`). Another takes over within four seconds if it dies.
- After a quarantine the machines reopen a server one after another, in the order of their ids. So one probes it first, and the
  others learn the result or wait again.
- While Redis fails, the connections of the other machines count as 0, and this machine's failures stay its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from ...balance import GOOD, Peer, Standing
from ...cluster import BEAT, Membership
from ...logs import errorlog
from ..checks import Probes, Report
from ..columns import keys_of
from ..pool import Pool
from .exchange import NOTHING, Change, Learnt, ServerState, Told, exchange

if TYPE_CHECKING:
    from ...config import Config
    from ...shm import SharedMemory

_STEP: Final = 2
"""Seconds between the machines' probes. Times are whole seconds, so one would not separate them."""
_STEPS_MAX: Final = 5


class _Column:
    """One server as of the last exchange: this machine's numbers, and the state in Redis."""

    __slots__ = ("check", "checked", "failures", "fails", "fresh", "state")

    def __init__(self) -> None:
        self.fails = self.failures = self.checked = self.check = 0
        self.state: ServerState = NOTHING
        self.fresh = True
        """True if this machine's numbers and the state have not been brought together yet."""

    def read(self, standing: Standing) -> None:
        """Keep this machine's numbers."""
        self.fails, self.failures, self.checked, self.check = standing.fails, standing.failures, standing.checked, standing.check

    def change(self, key: str, standing: Standing, now: int) -> Change:
        """Return the change since the last exchange: this machine's values if the server is fresh."""
        if self.fresh:
            age = 1000 * max(0, now - standing.accessed)
            return Change(key, health=standing.check or -1, least=standing.fails, age=age)
        new = standing.failures - self.failures
        return Change(
            key,
            failures=new,
            left=standing.fails if standing.fails < self.fails + new else -1,
            probe=int(not new and standing.fails > 0 and standing.checked > self.checked),
            health=standing.check if standing.check != self.check else -1,
        )


class SyncedPool:
    """One upstream with `sync`, in the leader of its machine."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._known = ""
        """The id of the state in Redis that the columns agree with; "" if they agree with none."""
        self._version = -1
        self._columns: dict[str, _Column] = {}
        self._peers: list[Peer] = []
        self._keys: list[str] = []
        self._epoch = -1
        self._counts: str | None = None
        self._told: dict[str, Change] = {}

    def tell(self, renew: bool) -> Told:
        """Return the news of this machine since the last exchange. `renew` repeats the connections."""
        pool = self.pool
        with pool._guard:
            if pool.peers is not self._peers:
                self._peers = pool.peers
                self._keys = [f"{key:016x}" for key in keys_of(pool.peers)]
                self._epoch = -1
            pool.counts.sync()
            local = pool.counts.local()
            pairs = zip(self._keys, self._peers, strict=True)
            counts = " ".join(f"{key}={local[peer.index]}" for key, peer in pairs if local[peer.index])
            changes: list[Change] = []
            if pool.health.epoch != self._epoch:
                with pool._lock:
                    self._epoch = pool.health.epoch
                    changes = self._changes()
        told = counts if renew or counts != self._counts else None
        self._counts = counts
        self._told = {change.server: change for change in changes}
        fresh = any(column.fresh for column in self._columns.values())
        return Told(pool.name, self._known, -1 if fresh else self._version, changes, told)

    def _changes(self) -> list[Change]:
        """Return the changes of all servers, and keep this machine's numbers."""
        now = int(self.pool._clock())
        found = []
        columns: dict[str, _Column] = {}
        for key, peer in zip(self._keys, self._peers, strict=True):
            column = columns[key] = self._columns.get(key) or _Column()
            standing = self.pool.health.standing(peer.index)
            change = column.change(key, standing, now)
            if change._replace(age=-1) != Change(key):
                found.append(change)
            column.read(standing)
        self._columns = columns
        return found

    def lose(self) -> None:
        """Start anew after a failure of Redis, which may have counted the last changes or not."""
        self._known, self._version, self._epoch, self._counts = "", -1, -1, None
        for column in self._columns.values():
            column.fresh = True
            column.state = NOTHING

    def be_alone(self) -> None:
        """Count no other machine."""
        with self.pool._guard, self.pool._lock:
            self.pool.health.be_patient(0)
            self.pool.counts.set_distant([0] * len(self.pool.counts.totals))

    def learn(self, learnt: Learnt) -> None:
        """Write the news of the other machines into the shared memory of this machine."""
        if self._known and learnt.id != self._known:
            self.lose()
            return
        self._known = learnt.id
        pool = self.pool
        pairs = list(zip(self._keys, self._peers, strict=True))
        with pool._guard:
            with pool._lock:
                pool.health.be_patient(min(learnt.rank, _STEPS_MAX) * _STEP)
                if learnt.servers is not None:
                    self._version = learnt.version
                    for key, peer in pairs:
                        self._merge(peer, self._columns[key], learnt.servers.get(key, NOTHING), self._told.get(key), learnt.now)
            distant = [0] * len(pool.counts.totals)
            for key, peer in pairs:
                distant[peer.index] = learnt.sums.get(key, 0)
            pool.counts.set_distant(distant)

    def _merge(self, peer: Peer, column: _Column, state: ServerState, told: Change | None, redis_now: int) -> None:
        """Take in the state of one server. The caller holds the pool's locks."""
        pool, index = self.pool, peer.index
        now = pool._clock()
        standing = pool.health.standing(index)
        before, column.state = column.state, state
        if not pool.single:
            self._merge_failures(peer, column, before, state, told or Change(""), now - redis_now / 1000)
        if state.health and state.health not in (column.check, standing.check) and state.health_changes != before.health_changes:
            pool.health.checked(index, state.health == GOOD, int(now))
            column.check = state.health
            verdict = "healthy" if state.health == GOOD else "unhealthy"
            errorlog.line("error", f'peer {peer.name} of upstream "{pool.name}" is {verdict}: another machine has checked it')
        column.fresh = False

    def _merge_failures(
        self, peer: Peer, column: _Column, before: ServerState, state: ServerState, told: Change, ahead: float
    ) -> None:
        """Take in the failures, successes and probes of other machines. Redis's clock is `ahead` seconds back."""
        health, index = self.pool.health, peer.index
        standing = health.standing(index)
        # This machine's failures, and a success, since its numbers were read. The next exchange tells them.
        since = standing.failures - column.failures
        fails = state.fails + since if standing.fails >= column.fails + since else standing.fails
        others = max(0, state.fails - column.fails) if column.fresh else state.failures - before.failures - told.failures
        cleared = not column.fresh and state.clears - before.clears > (told.left >= 0)
        probed = not column.fresh and state.checked != before.checked and not (told.failures or told.probe)
        own_probe = not since and standing.checked > column.checked
        if others or cleared or probed or fails != standing.fails:
            limit = peer.server.max_fails
            out, will = bool(limit and standing.fails >= limit), bool(limit and fails >= limit)
            failed = int(state.failed / 1000 + ahead) if others else None
            checked = int(state.checked / 1000 + ahead) if others or probed else None
            health.merge(index, fails, others, failed, checked, int(self.pool._clock()) if out and not will else None)
            if out != will:
                name = f'server {peer.name} of upstream "{self.pool.name}"'
                what = f"out for {peer.server.fail_timeout:g} s after {fails} failures" if will else "back: a request succeeded"
                errorlog.line("error", f"{name} is {what}, by the news of another machine")
        column.fails, column.failures = state.fails, column.failures + others
        if not own_probe:
            column.checked = health.standing(index).checked


class SyncedUpstreams:
    """The upstreams with `sync` of one machine. The membership calls `round` in the machine's leader."""

    def __init__(self, pools: Iterable[Pool], membership: Membership) -> None:
        self._pools = [SyncedPool(pool) for pool in pools]
        self._synced = {synced.pool for synced in self._pools}
        self._membership = membership
        self._renewed = -BEAT
        if self._pools:
            membership.each_round.append(self.round)

    def leads(self, pool: Pool) -> bool:
        """Return True if this machine runs the active checks of a pool: always, or for the cluster in an upstream with `sync`."""
        return pool not in self._synced or self._membership.holds("checks")

    def round(self) -> None:
        """Exchange the news with the other machines. OSError if Redis fails."""
        now = time.monotonic()
        renew = now - self._renewed >= BEAT
        try:
            found = exchange(self._membership, [pool.tell(renew) for pool in self._pools], renew)
        except OSError:
            for pool in self._pools:
                pool.lose()
                pool.be_alone()
            raise
        if renew:
            self._renewed = now
        for pool, learnt in zip(self._pools, found, strict=True):
            pool.learn(learnt)


def probes_of(
    config: Config, pools: Mapping[str, Pool], memory: SharedMemory, report: Report, membership: Membership | None
) -> Probes:
    """Return the active checks of a configuration (`Probes.of`), and share the upstreams with `sync` from now on."""
    if membership is None:
        return Probes.of(config, pools, memory, report)
    names = {name for name, upstream in config.upstreams.items() if upstream.sync}
    synced = SyncedUpstreams([pool for name, pool in pools.items() if name in names], membership)
    return Probes.of(config, pools, memory, report, synced.leads)
