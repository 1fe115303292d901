"""Active health checks. One process runs the checks; the results are shared with all workers.

Rules (ngx_http_upstream_hc_module):
- With `sync` one machine of a cluster runs the checks of an upstream (`upstream.sync`).
- The leader is the worker that holds a lock in shared memory. When it dies, another worker takes over within a second.
- A server is unhealthy after `fails` failed checks in a row, and healthy after `passes` passed ones. The result lies in shared
  memory.
- Checks run in threads (greenlets if gevent has patched them), at most PARALLEL at a time.
- They start in the process that serves: in a forked worker at once, in any other process with its first request. An arbiter that
  only loads the application runs no checks. If gunicorn forks a worker before gevent patches it (`--preload`), they start after
  the patch, because an earlier thread would run with half-patched modules.
- A check is a callable that takes a Peer and raises CheckFailed. A row in CHECKS adds a kind of check.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from ..balance import Peer
from ..config import HealthCheck, Match, ProxySettings, locations_of
from ..errors import CheckFailed
from ..logs import errorlog
from ..shm import forked_without_exec
from .http_check import HTTPCheck

if TYPE_CHECKING:
    from ..config import Config
    from ..shm import SharedMemory
    from .pool import Pool

PARALLEL = 16
_TAKEOVER = 1.0
_LONGEST_SLEEP = 1.0

Check = Callable[[Peer], None]
Report = Callable[["Pool", Peer, str, bool], None]
"""Gets the pool, the peer, the reason of a failure ("" for a passed check), and True if the peer's state has changed."""


class Probe:
    """One `health_check` of one pool: the time of each peer's next check, and its results so far."""

    def __init__(self, pool: Pool, settings: HealthCheck, check: Check) -> None:
        self.pool = pool
        self.settings = settings
        self.check = check
        self.due: dict[Peer, float] = {}
        self.streaks: dict[Peer, int] = {}
        """The number of passed checks in a row, or minus the number of failed ones."""
        self.running: set[Peer] = set()
        self.report: Report | None = None
        """Gets each result; None if they are not counted."""

    def due_peers(self, now: float, dice: random.Random) -> list[Peer]:
        """Return the peers to check at `now`, in monotonic seconds, and set the time of their next check."""
        pool = self.pool
        peers = [peer for peer in pool.peers if not peer.server.down]
        if not self.due.keys() <= set(peers):
            # A peer has been removed, and its results with it.
            self.streaks = {peer: streak for peer, streak in self.streaks.items() if peer in pool.peers}
            self.close()
        self.due = {peer: self.due.get(peer, now) for peer in peers}
        found = [peer for peer in peers if self.due[peer] <= now and peer not in self.running]
        for peer in found:
            self.due[peer] = now + self.settings.interval + dice.random() * self.settings.jitter
        return found

    def close(self) -> None:
        """Have the check close the connections that it keeps, if it has a method `close`."""
        close = getattr(self.check, "close", None)
        if close is not None:
            try:
                close()
            except Exception as error:  # the user's code; the other checks go on
                errorlog.line("error", f'closing the health check of upstream "{self.pool.name}" raised {_description(error)}')

    def run(self, peer: Peer) -> None:
        """Check a peer, and record and log the result. Any exception of the check is a failed check."""
        name = f'of peer {peer.name} in upstream "{self.pool.name}"'
        failure = ""
        try:
            self.check(peer)
        except CheckFailed as error:
            failure = str(error) or "check failed"
            errorlog.line("info", f"health check {name} failed: {failure}")
        except BaseException as error:  # the check is the user's code; its thread ends here in any case
            failure = _description(error)
            errorlog.line("error", f"health check {name} raised {failure}")
        streak = self.streaks.get(peer, 0)
        streak = self.streaks[peer] = max(streak, 0) + 1 if not failure else min(streak, 0) - 1
        changed = False
        if -streak >= self.settings.fails and self.pool.checked(peer, False):
            changed = True
            errorlog.line("error", f"peer is unhealthy while checking status {name}: {failure}")
        elif streak >= self.settings.passes and self.pool.checked(peer, True):
            changed = True
            errorlog.line("error", f"peer is healthy while checking status {name}")
        if self.report is not None:
            self.report(self.pool, peer, failure, changed)


def _description(error: BaseException) -> str:
    """Return an exception's type, message and the line that raised it, for the log."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{traceback.format_exception_only(error)[-1].strip()} ({where.filename}:{where.lineno})"


class Probes:
    """All active checks of a configuration. Every worker has the object; the leader runs the checks."""

    def __init__(
        self,
        probes: Iterable[Probe],
        memory: SharedMemory,
        report: Report | None = None,
        leads: Callable[[Pool], bool] | None = None,
    ) -> None:
        self.probes = list(probes)
        self._leads = leads or (lambda pool: True)
        """Returns True if this machine checks a pool, and no other one of its cluster."""
        for probe in self.probes:
            # Before the start, so that no result is missed.
            probe.report = report
        self._memory = memory
        self._stop = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._slots = threading.Semaphore(PARALLEL)
        self._dice = random.Random()
        for probe in self.probes:
            probe.pool.on_tick = self.start
            if probe.settings.mandatory:
                probe.pool.require_checks()
        if self.probes:
            _all.add(self)
            if forked_without_exec():
                self.start()

    @classmethod
    def of(
        cls,
        config: Config,
        pools: Mapping[str, Pool],
        memory: SharedMemory,
        report: Report | None = None,
        leads: Callable[[Pool], bool] | None = None,
    ) -> Probes:
        """Return the checks of a configuration's locations (`health_check` beside `proxy_pass`) and of the pools.

        `report` gets the result of each check. `leads` returns True if this machine checks a pool for its cluster.
        """
        probes = []
        for location in locations_of(config):
            proxy = location.proxy
            if proxy.pass_ is not None and proxy.pass_.upstream in pools:
                pool = pools[proxy.pass_.upstream]
                for settings in proxy.health_checks:
                    match = config.matches.get(settings.match)
                    check = make_check(settings, match, proxy.pass_.scheme, proxy.pass_.host, proxy)
                    probes.append(Probe(pool, settings, check))
        for pool in pools.values():
            if pool.health_check is not None:
                settings = pool.health_check
                check = make_check(settings, None, pool.scheme, "", ProxySettings(tls=pool.tls))
                probes.append(Probe(pool, settings, check))
        return cls(probes, memory, report, leads)

    def start(self) -> None:
        """Start the checks, unless they have started in this process or were stopped before it was forked."""
        if self._thread is None and self.probes and not self._stopped:
            # Created here, because objects from before gevent's patch would block its loop.
            self._stop, self._slots = threading.Event(), threading.Semaphore(PARALLEL)
            self._thread = threading.Thread(target=self._run, name="wsgi_proxy probes", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the checks and wait for the thread. This process stays the leader until it ends."""
        self._stopped = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for probe in self.probes:
            probe.close()

    def in_child(self) -> None:
        """Reset the state in a forked child, which does not have the parent's thread."""
        self._thread = None
        for probe in self.probes:
            probe.running.clear()

    def _run(self) -> None:
        while not self._memory.lead("probes"):
            if self._stop.wait(_TAKEOVER):
                return
        while not self._stop.is_set():
            led = [probe for probe in self.probes if self._leads(probe.pool)]
            now = time.monotonic()
            for probe in led:
                for peer in probe.due_peers(now, self._dice):
                    self._slots.acquire()
                    probe.running.add(peer)
                    threading.Thread(target=self._run_check, args=(probe, peer), daemon=True).start()
            due = [when for probe in led for peer, when in probe.due.items()]
            self._stop.wait(min(max(min(due, default=now + 1) - time.monotonic(), 0.01), _LONGEST_SLEEP))

    def _run_check(self, probe: Probe, peer: Peer) -> None:
        try:
            probe.run(peer)
        finally:
            probe.running.discard(peer)
            self._slots.release()


_all: weakref.WeakSet[Probes] = weakref.WeakSet()


def _in_child() -> None:
    for probes in list(_all):
        probes.in_child()
    if not _all:
        return
    if _awaits_gevent():
        import_module("gevent.events").subscribers.append(_when_patched)
    else:
        _start_all()


def _awaits_gevent() -> bool:
    """Return True in a child of a gunicorn whose workers are gevent's, until gevent has patched it."""
    monkey = sys.modules.get("gevent.monkey")
    return "gunicorn.workers.ggevent" in sys.modules and monkey is not None and not monkey.is_module_patched("threading")


def _when_patched(event: object) -> None:
    """Start on the last event of gevent.monkey.patch_all (gevent.events.GeventDidPatchAllEvent)."""
    if type(event).__name__ == "GeventDidPatchAllEvent":
        _start_all()


def _start_all() -> None:
    for probes in list(_all):
        probes.start()


os.register_at_fork(after_in_child=_in_child)


def make_check(settings: HealthCheck, match: Match | None, scheme: str, host: str, proxy: ProxySettings) -> Check:
    """Return the check of the settings: their callable, else one of CHECKS."""
    if settings.check is not None:
        return settings.check
    return CHECKS["http"](settings, match, scheme, host, proxy)


CHECKS: dict[str, Callable[[HealthCheck, Match | None, str, str, ProxySettings], Check]] = {
    "http": HTTPCheck,
}
