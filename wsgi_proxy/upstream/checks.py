"""Active health checks: one worker asks every server, all workers know the answers.

Rules:
- The leader is the worker that holds the shared memory's lock for it; when it dies another takes over within a second.
- A server is bad after `fails` failed checks in a row and good after `passes` good ones; what is found lies in shared memory.
- Checks run beside the requests, in threads (greenlets where gevent has patched them), at most PARALLEL at a time.
- They start in the process that serves: in a forked worker at once, in a process of its own with its first request. An arbiter
  that only loads the application checks nothing. Where gunicorn forks a worker before gevent patches it (`--preload`), they start
  when it is patched: a thread that was begun before would run on half-patched modules.
- A check is a callable that takes a Peer and raises CheckFailed. One line in CHECKS makes a kind of check.
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
_TAKE_OVER = 1.0
_LONGEST_SLEEP = 1.0

Check = Callable[[Peer], None]


class Probe:
    """One `health_check` of one pool: when each peer is asked next, and how it did so far."""

    def __init__(self, pool: Pool, settings: HealthCheck, check: Check) -> None:
        self.pool = pool
        self.settings = settings
        self.check = check
        self.due: dict[Peer, float] = {}
        self.streaks: dict[Peer, int] = {}
        """The number of passed checks in a row, or minus the number of failed ones."""
        self.asking: set[Peer] = set()

    def ripe(self, now: float, dice: random.Random) -> list[Peer]:
        """Who is to be asked now; their next time is set."""
        pool = self.pool
        peers = [peer for peer in pool.peers if not peer.server.down]
        if not self.due.keys() <= set(peers):
            # Someone is gone: nothing is kept for those who are no more.
            self.streaks = {peer: streak for peer, streak in self.streaks.items() if peer in pool.peers}
            self.close()
        self.due = {peer: self.due.get(peer, now) for peer in peers}
        ripe = [peer for peer in peers if self.due[peer] <= now and peer not in self.asking]
        for peer in ripe:
            self.due[peer] = now + self.settings.interval + dice.random() * self.settings.jitter
        return ripe

    def close(self) -> None:
        """Have the check close the connections that it keeps, if it has a method `close`."""
        close = getattr(self.check, "close", None)
        if close is not None:
            try:
                close()
            except Exception as error:  # the user's code; the other checks go on
                errorlog.line("error", f'closing the health check of upstream "{self.pool.name}" raised {_description(error)}')

    def ask(self, peer: Peer) -> None:
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
        if -streak >= self.settings.fails and self.pool.checked(peer, False):
            errorlog.line("warn", f"peer is unhealthy while checking status {name}: {failure}")
        elif streak >= self.settings.passes and self.pool.checked(peer, True):
            errorlog.line("notice", f"peer is healthy while checking status {name}")


def _description(error: BaseException) -> str:
    """Return an exception's type, message and the line that raised it, for the log."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{traceback.format_exception_only(error)[-1].strip()} ({where.filename}:{where.lineno})"


class Probes:
    """All active checks of a configuration. Made in every worker; one of them does the work."""

    def __init__(self, probes: Iterable[Probe], memory: SharedMemory) -> None:
        self.probes = list(probes)
        self._memory = memory
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._room = threading.Semaphore(PARALLEL)
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
    def of(cls, config: Config, pools: Mapping[str, Pool], memory: SharedMemory) -> Probes:
        """What the locations of `config` ask for (`health_check` beside `proxy_pass`), and the pools themselves."""
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
        return cls(probes, memory)

    def start(self) -> None:
        """Begin, if it has not begun in this process."""
        if self._thread is None and self.probes:
            # Made here, because those made before gevent patched the process would block its loop.
            self._stop, self._room = threading.Event(), threading.Semaphore(PARALLEL)
            self._thread = threading.Thread(target=self._run, name="wsgi_proxy probes", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; waits for the thread. The lead stays with this process until it ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for probe in self.probes:
            probe.close()

    def in_child(self) -> None:
        """Forget the parent's thread: a forked child has none yet."""
        self._thread = None
        for probe in self.probes:
            probe.asking.clear()

    def _run(self) -> None:
        while not self._memory.lead("probes"):
            if self._stop.wait(_TAKE_OVER):
                return
        while not self._stop.is_set():
            now = time.monotonic()
            for probe in self.probes:
                for peer in probe.ripe(now, self._dice):
                    self._room.acquire()
                    probe.asking.add(peer)
                    threading.Thread(target=self._ask, args=(probe, peer), daemon=True).start()
            due = [when for probe in self.probes for peer, when in probe.due.items()]
            self._stop.wait(min(max(min(due, default=now + 1) - time.monotonic(), 0.01), _LONGEST_SLEEP))

    def _ask(self, probe: Probe, peer: Peer) -> None:
        try:
            probe.ask(peer)
        finally:
            probe.asking.discard(peer)
            self._room.release()


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
    """The check that the settings ask for: their own callable, else one of the table."""
    if settings.check is not None:
        return settings.check
    return CHECKS["http"](settings, match, scheme, host, proxy)


CHECKS: dict[str, Callable[[HealthCheck, Match | None, str, str, ProxySettings], Check]] = {
    "http": HTTPCheck,
}
