"""The proxy's counters, shared by its workers.

Rules:
- A request is counted once, at its end, under the location that answered it. The figures of server blocks and of the whole proxy
  are sums over locations, so they cost a request nothing.
- An attempt at an upstream server is counted once, when its lease ends, also for requests of the proxy itself (subrequests,
  fetches of the cache).
- The requests of `wsgi_proxy_status` and `stub_status` are not counted, except in the figures of `stub_status`.
- Gauges (connections) are summed over live workers only. Connections, and requests that begin, are counted by ProxyWorker's
  `Service`; under other workers only requests are known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ..clocks import wall_time
from .counter import REASON_WORDS, Counter, Registry, write_text
from .histogram import BUCKETS, bucket_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..exchange import Exchange
    from ..response import Attempt
    from ..shm import SharedMemory

# Kinds of subjects.
LOCATION: Final = 1
PEER: Final = 2
RETRIES: Final = 3
LIMIT_REQ: Final = 4
LIMIT_CONN: Final = 5
CACHE: Final = 6
WORKER: Final = 7
CHECK: Final = 8

# Words of a location. The first six are the status classes, 0 for a response without a status.
SENT: Final = 6
RECEIVED: Final = 7
MICROSECONDS: Final = 8
TIMES: Final = 9
"""The index of the first bucket of the request durations."""
LOCATION_WORDS: Final = TIMES + BUCKETS

# Words of an upstream server. The first six are the status classes, 0 for an attempt without a response.
FAILED: Final = 6
PEER_SENT: Final = 7
PEER_RECEIVED: Final = 8
HEADER_MICROSECONDS: Final = 9
RESPONSE_MICROSECONDS: Final = 10
FAILED_AT: Final = 11
"""The time of the last failure, in seconds since the epoch, in the row of the worker that saw it."""
REASON: Final = 12
"""The index of the first of the words that hold the last failure's reason."""
HEADER_TIMES: Final = REASON + REASON_WORDS
RESPONSE_TIMES: Final = HEADER_TIMES + BUCKETS
PEER_WORDS: Final = RESPONSE_TIMES + BUCKETS

# Words of the active checks of a server, in the row of the worker that runs them.
CHECKED_AT: Final = 0
CHECK_SINCE: Final = 1
CHECK_RESULT: Final = 2
"""1 if the last check passed, 2 if it failed."""
CHECKS: Final = 3
CHECKS_FAILED: Final = 4
CHECK_REASON: Final = 5
HEALTH_CHANGES: Final = CHECK_REASON + REASON_WORDS
CHECK_WORDS: Final = HEALTH_CHANGES + 1

RETRY_REASONS: Final = (
    "error", "timeout", "invalid_header", "denied", "http_500", "http_502", "http_503", "http_504", "http_403", "http_404",
    "http_429", "other",
)  # fmt: skip
CACHE_STATES: Final = ("HIT", "MISS", "EXPIRED", "STALE", "UPDATING", "REVALIDATED", "BYPASS", "SCARCE", "other")
LIMIT_STATES: Final = ("PASSED", "DELAYED", "REJECTED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN")

# Words of a worker; the first ten are those of `worker.counts`.
ACCEPTED: Final = 0
STARTED: Final = 1
ACTIVE: Final = 2
READING: Final = 3
WRITING: Final = 4
WAITING: Final = 5
NOWHERE: Final = 6
HANDSHAKES: Final = 7
RESUMED: Final = 8
HANDSHAKES_FAILED: Final = 9
"""Connections accepted, requests begun, nginx's four gauges of connections (ngx_http_stub_status_module), TLS handshakes."""
PID: Final = 10
BEGUN: Final = 11
"""The time at which the worker began to count, in seconds since the epoch."""
CLAIMS: Final = 12
"""The number of workers that the slot has had."""
WORKER_WORDS: Final = 16
_GAUGES: Final = (ACTIVE, READING, WRITING, WAITING)
_PEERS_KEPT: Final = 4096


class Metrics:
    """The counters of one configuration."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self.registry = Registry(memory)
        self.workers = self.registry.counter(WORKER, WORKER_WORDS, "workers")
        self._worker: Any = None
        self._fork = memory.when_forked(self.forked)
        self._unrouted = self.registry.counter(LOCATION, LOCATION_WORDS, "(none)", "(none)")
        self._peers: dict[Any, PeerCounter] = {}
        self._pools: set[str] = set()
        self.checked_pools: set[str] = set()
        """The names of the upstreams with active checks."""
        self._caches: dict[str, Counter] = {}
        self._cache_index = {state: index for index, state in enumerate(CACHE_STATES)}

    def forked(self) -> None:
        """Forget the row after a fork: the new process has another slot."""
        self._worker = None

    def _row(self) -> Any:
        """Return this worker's own row, whose gauges are 0 at first."""
        row = self._worker = self.workers.row()
        for index in _GAUGES:
            row[index] = 0
        row[PID] = os.getpid()
        row[BEGUN] = int(wall_time())
        row[CLAIMS] += 1
        return row

    def count_for(self, service: Any) -> None:
        """Let a worker's `Service` count in this worker's row from now on, unless it counts in another proxy's already."""
        service.count_in(self._row() if self._worker is None else self._worker)

    def started(self) -> None:
        """Count a request that begins, under a worker that does not count by itself."""
        row = self._row() if self._worker is None else self._worker
        row[STARTED] += 1

    # --- subjects ----------------------------------------------------------------------------------------------------

    def location(self, server: str, location: str) -> Counter:
        """Return the counter of a location, by the name of its server block and its own."""
        return self.registry.counter(LOCATION, LOCATION_WORDS, f"{server}\0{location}", server)

    def zone(self, kind: int, name: str) -> Counter:
        """Return the counter of a zone: of `limit_req`, `limit_conn` or a cache."""
        size = len(CACHE_STATES) if kind == CACHE else len(LIMIT_STATES)
        return self.registry.counter(kind, size + 1, name)

    def limit(self, kind: str, name: str) -> Counter:
        """Return the counter of a zone of `limit_req` or `limit_conn`."""
        return self.zone(LIMIT_REQ if kind == "limit_req" else LIMIT_CONN, name)

    def use(self, pools: Mapping[str, Any], caches: Mapping[str, Any]) -> None:
        """Set the upstreams and cache zones of the configuration. The servers of any other upstream are counted together."""
        self._pools = set(pools)
        self._caches = {name: self.zone(CACHE, name) for name in caches}

    def peer(self, pool: Any, peer: Any) -> PeerCounter:
        """Return the counter of an upstream server."""
        found = self._peers.get(peer)
        if found is None:
            known = pool.name in self._pools
            name = f"{pool.name}\0{peer.name}" if known else "(variable)"
            counter = self.registry.counter(PEER, PEER_WORDS, name, pool.name if known else name)
            if len(self._peers) >= _PEERS_KEPT:
                self._peers.clear()
            found = self._peers[peer] = PeerCounter(counter, self.registry, pool.name if known else name)
        return found

    def check(self, pool: Any, peer: Any) -> Counter:
        """Return the counter of the active checks of an upstream server."""
        return self.registry.counter(CHECK, CHECK_WORDS, f"{pool.name}\0{peer.name}", pool.name)

    def retries(self, pool: str) -> Counter:
        """Return the counter of an upstream's retries by reason."""
        return self.registry.counter(RETRIES, len(RETRY_REASONS), pool)

    # --- counting ----------------------------------------------------------------------------------------------------

    def record(self, exchange: Exchange) -> None:
        """Count a finished exchange."""
        compiled = exchange.compiled
        counter: Counter | None = self._unrouted if compiled is None else compiled.counter
        if counter is None:
            return
        words = counter.words
        if words is None:
            words = counter.row()
        words[exchange.status // 100] += 1
        words[SENT] += exchange.body_bytes_sent
        if exchange.body_bytes_received:
            words[RECEIVED] += exchange.body_bytes_received
        taken = exchange.finished_at - exchange.started
        words[MICROSECONDS] += int(taken * 1000000.0)
        words[TIMES + bucket_of(taken)] += 1
        if exchange.cache_status:
            self._count_cache(exchange)

    def _count_cache(self, exchange: Exchange) -> None:
        caches = self._caches
        zone: Any = exchange.location.cache.zone
        counter = caches.get((zone if isinstance(zone, str) else zone(exchange)) if zone is not None else "")
        if counter is None and len(caches) == 1:
            # An internal redirect has left the location with the cache.
            counter = next(iter(caches.values()))
        if counter is not None:
            counter.add(self._cache_index.get(exchange.cache_status, len(CACHE_STATES) - 1))

    def checked(self, pool: Any, peer: Any, failure: str, changed: bool) -> None:
        """Note the result of an active check; `failure` is empty if it passed."""
        row = self.check(pool, peer).row()
        now = int(wall_time())
        result = 2 if failure else 1
        row[CHECKED_AT] = now
        row[CHECKS] += 1
        if failure:
            row[CHECKS_FAILED] += 1
            write_text(row, CHECK_REASON, failure)
        if changed:
            row[HEALTH_CHANGES] += 1
        if changed or row[CHECK_RESULT] == 0:
            row[CHECK_SINCE] = now
        row[CHECK_RESULT] = result

    # --- reading -----------------------------------------------------------------------------------------------------

    def connections(self) -> dict[str, int]:
        """Return nginx's four gauges of connections. Workers other than ProxyWorker count none; the asking request has one."""
        totals = self.worker_totals()
        return {
            "active": max(1, totals[ACTIVE]),
            "reading": totals[READING],
            "writing": max(1, totals[WRITING]),
            "waiting": totals[WAITING],
        }

    def live_workers(self) -> list[list[int]]:
        """Return the rows of the workers that are alive."""
        self._memory.reap()
        live = {slot for slot, _ in self._memory.living()}
        return [row for slot, row in enumerate(self.workers.rows()) if slot in live and row[PID]]

    def worker_totals(self) -> list[int]:
        """Return the sums of the workers' rows by index. Gauges are summed over live workers only."""
        self._memory.reap()
        live = {slot for slot, _ in self._memory.living()}
        sums = [0] * WORKER_WORDS
        for slot, row in enumerate(self.workers.rows()):
            for index, value in enumerate(row):
                if index not in _GAUGES or slot in live:
                    sums[index] += value
        return sums


class PeerCounter:
    """The counts of the attempts at one upstream server."""

    def __init__(self, counter: Counter, registry: Registry, pool: str) -> None:
        self.counter = counter
        self._registry = registry
        self._pool = pool

    def ended(self, attempt: Attempt, failed: bool) -> None:
        """Count an attempt that has ended. `failed` is True for a failure that counts against the server."""
        counter = self.counter
        words = counter.words
        if words is None:
            words = counter.row()
        words[0 if attempt.error else attempt.status // 100] += 1
        words[PEER_SENT] += attempt.bytes_sent
        words[PEER_RECEIVED] += attempt.bytes_received
        taken = attempt.header_time
        if taken is not None:
            words[HEADER_MICROSECONDS] += int(taken * 1000000.0)
            words[HEADER_TIMES + bucket_of(taken)] += 1
            taken = attempt.response_time
            if taken is not None:
                words[RESPONSE_MICROSECONDS] += int(taken * 1000000.0)
                words[RESPONSE_TIMES + bucket_of(taken)] += 1
        if failed:
            words[FAILED] += 1
            words[FAILED_AT] = int(wall_time())
            write_text(words, REASON, attempt.error or f"status {attempt.status}")

    def retried(self, reason: str) -> None:
        """Count a further attempt that follows this one, by nginx's word for the reason (`proxy_next_upstream`)."""
        counter = self._registry.counter(RETRIES, len(RETRY_REASONS), self._pool)
        counter.add(RETRY_REASONS.index(reason) if reason in RETRY_REASONS else len(RETRY_REASONS) - 1)
