"""limit_conn: the number of concurrent requests per key, counted over all workers (ngx_http_limit_conn_module).

Rules:
- Each record belongs to one worker, so the requests of a killed worker do not count. Records of dead workers are removed when a
  request would otherwise be refused, or when the table is full.
- A request is counted once. An internal redirect does not count again.
- Empty keys and keys of more than 255 bytes are not limited.
- A full table refuses requests, as in nginx.
- A zone with `sync` is also counted over all machines (`cluster`), after this machine's count has admitted the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import Refusal
from ..logs import errorlog
from .requests import PASSED, REJECTED
from .table import OWNER, VALUE, CountTable, Memory

if TYPE_CHECKING:
    from ..cluster import SharedConnections
    from ..config import GuardSettings, LimitConnZone, Template
    from ..exchange import Exchange


class ConnectionZone:
    """One `limit_conn_zone`: a record per key and worker. VALUE is the number of requests in progress."""

    __slots__ = ("counter", "key", "memory", "name", "sync", "table")

    def __init__(self, zone: LimitConnZone, memory: Memory) -> None:
        self.name = zone.name
        self.counter: Any = None
        """Counts the decisions (`status.Counter`), as those of `limit_req`; None in a zone that is not counted."""
        self.key: Template = zone.key
        self.sync = zone.sync
        self.memory = memory
        area = f"limit_conn {zone.name}"
        self.table = CountTable(memory.area(area, zone.size), memory.lock(area))

    def owner(self) -> int:
        """Return a number for this worker: its slot, and the generation of its claim on the slot."""
        slot = self.memory.slot
        return slot | self.memory.generation(slot) << 16

    def take(self, key: bytes, number: int) -> Held | None:
        """Count a request for `key`. Return None if there are `number` already, or if the table is full."""
        table = self.table
        owner = self.owner()
        digest = table.digest(key)
        with table.lock:
            table.begin()
            at = self._mine(digest, owner, number)
            if at is not None:
                at = at or table.insert(digest, owner) or self._make_room(digest, owner)
                if at:
                    table.words[at + VALUE] += 1
            table.end()
        return Held(self, at, owner) if at else None

    def _mine(self, digest: tuple[int, int], owner: int, number: int) -> int | None:
        """Return this worker's record (0 if there is none), or None if the key's records sum up to `number`."""
        for attempt in range(2):
            total, mine, dead = self._sum(digest, owner)
            if total < number:
                return mine
            if attempt or not (dead or self.memory.reap()):
                return None
            for at in self._sum(digest, owner)[2]:
                self.table.remove(at)
        return None

    def _sum(self, digest: tuple[int, int], owner: int) -> tuple[int, int, list[int]]:
        """Return a key's requests in progress, this worker's record, and the records of dead workers."""
        table = self.table
        words = table.words
        total = mine = 0
        dead = []
        at = table.find(digest)
        while at:
            total += words[at + VALUE]
            if words[at + OWNER] == owner:
                mine = at
            elif not self._alive(words[at + OWNER]):
                dead.append(at)
            at = table.find(digest, at)
        return total, mine, dead

    def _alive(self, owner: int) -> bool:
        return self.memory.generation(owner & 0xFFFF) == owner >> 16

    def _make_room(self, digest: tuple[int, int], owner: int) -> int:
        """Remove the records of dead workers and return a new record, 0 if the table is still full."""
        table = self.table
        self.memory.reap()
        for at in table.records():
            if not self._alive(table.words[at + OWNER]):
                table.remove(at)
        return table.insert(digest, owner)

    def release(self, at: int, owner: int) -> None:
        """End a request that `take` counted."""
        table = self.table
        words = table.words
        with table.lock:
            table.begin()
            # A forked child may close its parent's request. It has another slot, and the parent's record must stay.
            if words[at + OWNER] == owner and words[at + VALUE] and owner == self.owner():
                words[at + VALUE] -= 1
                if not words[at + VALUE]:
                    table.remove(at)
            table.end()


class Held:
    """One counted request. `close` ends it once."""

    __slots__ = ("_at", "_owner", "_zone")

    def __init__(self, zone: ConnectionZone, at: int, owner: int) -> None:
        self._zone = zone
        self._at = at
        self._owner = owner

    def close(self) -> None:
        """End the request. A second call does nothing."""
        at, self._at = self._at, 0
        if at:
            self._zone.release(at, self._owner)


class ConnectionCheck:
    """All `limit_conn` of a location, as a step of the access guard."""

    __slots__ = ("dry_run", "level", "limits", "shared", "status")

    def __init__(
        self, settings: GuardSettings, zones: Mapping[str, ConnectionZone], shared: SharedConnections | None = None
    ) -> None:
        self.limits = tuple((zones[limit.zone], limit.number) for limit in settings.limit_conn)
        self.status = settings.limit_conn_status
        self.level = settings.limit_conn_log_level
        self.dry_run = settings.limit_conn_dry_run
        self.shared = shared

    def __call__(self, exchange: Exchange) -> None:
        """Count the request and append the counts to `exchange.leases`. Raise Refusal if there are too many requests."""
        if exchange.limit_conn_status:
            return
        taken: list[Any] = []
        passed: list[ConnectionZone] = []
        common: list[tuple[ConnectionZone, bytes, int]] = []
        for zone, number in self.limits:
            key = zone.key(exchange).encode("latin-1")
            if not 0 < len(key) <= 255:
                continue
            exchange.limit_conn_status = "PASSED"
            held = zone.take(key, number)
            if exchange.trace is not None:
                verdict = "the limit is reached" if held is None else "passed"
                exchange.why("limit_conn", f'zone "{zone.name}", at most {number}, key {key.decode("latin-1")}: {verdict}')
            if held is None:
                self._refuse(exchange, zone, taken)
                return
            taken.append(held)
            passed.append(zone)
            if zone.sync:
                common.append((zone, key, number))
        if common and self.shared is not None:
            refused, together = self.shared.take([(zone.name, key, number) for zone, key, number in common])
            if refused >= 0:
                self._refuse(exchange, common[refused][0], taken)
                return
            taken.append(together)
        for zone in passed:
            if zone.counter is not None:
                zone.counter.add(PASSED)
        if taken:
            if exchange.leases is None:
                exchange.leases = taken
            else:
                exchange.leases += taken

    def _refuse(self, exchange: Exchange, zone: ConnectionZone, taken: list[Any]) -> None:
        """Count, log and refuse a request, and end its counts in the zones that have admitted it."""
        for held in taken:
            held.close()
        if zone.counter is not None:
            zone.counter.add(REJECTED + (2 if self.dry_run else 0))
        dry = ", dry run," if self.dry_run else ""
        message = f'limiting connections{dry} by zone "{zone.name}"'
        exchange.limit_conn_status = "REJECTED_DRY_RUN" if self.dry_run else "REJECTED"
        errorlog.line(self.level, message, exchange)
        if exchange.trace is not None:
            exchange.why("limits", message)
        if not self.dry_run:
            raise Refusal(status=self.status)
