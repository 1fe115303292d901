"""The main process: gunicorn's arbiter, with nginx's ways of reloading and stopping.

Rules:
- A reload has two phases. First the new configuration is read, its sockets are bound, and its workers are started; only when all
  of them serve are the old workers told to drain and the old sockets closed. Whatever fails on the way is logged, undone, and
  leaves the old configuration running untouched.
- The main loop never waits for a worker. Old ones take the time they may (`worker_shutdown_timeout`).
- QUIT lets every request end; TERM does within `graceful_timeout`; INT ends at once. HUP reloads, USR1 reopens logs, USR2 is
  gunicorn's.
- A worker that dies is replaced, whatever number of old ones is still draining.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.pidfile import Pidfile

from ..errors import ConfigError
from ..logs import errorlog
from ..shm import unlink_files_of
from . import listen

if TYPE_CHECKING:
    from .application import ProxyServer, ServerPlan

_NOTICE, _ALERT, _EMERG = (errorlog.LEVELS[name] for name in ("notice", "alert", "emerg"))

_PROMPT = 0.05
"""Seconds between two looks while a reload is under way."""
_SIGNAL_AGAIN = 0.25
"""Seconds until a worker that has not ended is told again."""
_BOOT_LIMIT = 60.0
"""Seconds that new workers may take to load before a reload is given up."""


class PidFile(Pidfile):  # type: ignore[misc]
    """The pid file, as nginx keeps it: one that is left over, of whatever process, is written over."""

    def validate(self) -> None:
        return None

    def create(self, pid: int) -> None:
        folder = os.path.dirname(self.fname)
        if folder:
            os.makedirs(folder, exist_ok=True)
        super().create(pid)


class Reload:
    """A reload under way: what to go back to, and whose start is awaited."""

    def __init__(self, before: ServerPlan, old_sockets: list[Any], gone: list[Any], new: list[Any], oldest: int) -> None:
        self.before = before
        self.old_sockets = old_sockets
        self.gone = gone
        """Sockets that the new configuration does not have."""
        self.new = new
        """Sockets that only the new configuration has."""
        self.oldest = oldest
        """The age of the first worker of the new configuration."""
        self.until = time.monotonic() + _BOOT_LIMIT


class ProxyArbiter(Arbiter):  # type: ignore[misc]
    """See the module's rules."""

    app: ProxyServer
    pidfile: PidFile | None

    def __init__(self, app: ProxyServer) -> None:
        super().__init__(app)
        # For USR2, the command as it was given: gunicorn's own guess does not know of `python -m`.
        self.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
        self._reload: Reload | None = None
        self._again = False
        self._patient = False
        self._retired: dict[int, int] = {}
        """The workers that are to end, and the signal that says so."""

    # --- starting ---

    def bind(self) -> None:
        """Open the listening sockets, unless they are inherited (USR2). Raises ConfigError."""
        if "GUNICORN_FD" not in os.environ:
            self.LISTENERS, _ = listen.bind(self.app.plan.listens, [], self.cfg, self.log)

    def start(self) -> None:
        """gunicorn's, but for the pid file, which comes when there are workers."""
        super().start()
        _share_memory()
        super().manage_workers()
        self._write_pid_file()

    def _write_pid_file(self) -> None:
        path = self.app.plan.pid_path
        if path:
            self.pidfile = PidFile(path + (".2" if self.master_pid else ""))
            try:
                self.pidfile.create(self.pid)
            except OSError as error:
                raise HaltServer(f'open() "{path}" failed ({error.errno}: {error.strerror})', 1) from error

    def maybe_promote_master(self) -> None:
        """After USR2, when the old main process is gone, the new one takes its pid file's name."""
        was_second = self.master_pid != 0
        pidfile, self.pidfile = self.pidfile, None
        super().maybe_promote_master()
        self.pidfile = pidfile
        if was_second and self.master_pid == 0 and pidfile is not None:
            pidfile.rename(self.app.plan.pid_path)

    # --- workers ---

    def spawn_worker(self) -> int:
        """gunicorn's; where the system has no process to give, the others go on and it is tried again."""
        try:
            pid: int = super().spawn_worker()
        except OSError as error:
            self.log.log(_ALERT, "fork() failed (%s: %s)", error.errno, error.strerror)
            return 0
        return pid

    def active(self) -> dict[int, Any]:
        """The workers that are not draining."""
        return {pid: worker for pid, worker in self.WORKERS.items() if pid not in self._retired}

    def manage_workers(self) -> None:
        """Keep the number of workers, not counting those that drain."""
        self._remind()
        if self._reload is not None:
            self._continue_reload()
            return
        active = self.active()
        for _ in range(self.num_workers - len(active)):
            self.spawn_worker()
        for pid in sorted(active, key=lambda pid: int(active[pid].age))[: max(0, len(active) - self.num_workers)]:
            self._retire(pid)
        if self._again:
            self._again = False
            self.reload()

    def _retire(self, pid: int, number: int = signal.SIGTERM) -> None:
        """Tell a worker to drain, once."""
        if pid not in self._retired:
            self._retired[pid] = number
            self.kill_worker(pid, number)

    def _remind(self) -> None:
        """Tell those again that have not heard: a worker that was only just forked has this process's handlers still, and a
        signal that comes then is lost in them."""
        for pid, number in self._retired.items():
            worker = self.WORKERS.get(pid)
            if worker is not None and not worker.ending():
                self.kill_worker(pid, number)

    def _forget_ended(self) -> None:
        self._retired = {pid: number for pid, number in self._retired.items() if pid in self.WORKERS}

    def reap_workers(self) -> None:
        """gunicorn's; a worker that cannot load ends the server only if nobody else serves."""
        while True:
            try:
                super().reap_workers()
                break
            except HaltServer as halt:
                self._forget_ended()
                if self._reload is not None:
                    self._abandon_reload(halt.reason)
                elif not any(worker.serving() for worker in self.active().values()):
                    raise
        self._forget_ended()

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """gunicorn's, with shorter sleeps while a reload waits for its workers."""
        signals: list[int] = super().wait_for_signals(_PROMPT if self._reload is not None else timeout)
        return signals

    def forked(self) -> None:
        """In a new worker: let go of what only the main process needs."""
        if self._reload is not None:
            # Held on to here, a socket that the new configuration does not have would stay open and be answered by nobody.
            for sock in self._reload.gone:
                sock.close()

    # --- reloading ---

    def reload(self) -> None:
        """The first phase: read, bind, start the new workers."""
        if self._reload is not None:
            # One after the other; the last word counts.
            self._again = True
            return
        before, old_sockets = self.app.plan, self.LISTENERS
        made: list[Any] = []
        try:
            plan = self.app.read()
            sockets, gone = listen.bind(plan.listens, old_sockets, self.cfg, self.log, pause=lambda _: None)
            known = {id(sock) for sock in old_sockets}
            made = [sock for sock in sockets if id(sock) not in known]
            self.app.use(plan)
        except (ConfigError, OSError) as error:
            listen.close(made)
            self._say_broken(str(error))
            return
        except Exception:  # whatever a configuration does to its reader, those who are served have no part in it
            listen.close(made)
            self.log.exception("defect while reading the configuration")
            self._say_broken("the configuration cannot be read")
            return
        self._reload = Reload(before, old_sockets, gone, made, self.worker_age + 1)
        self._stats["reloads"] += 1
        self.LISTENERS = sockets
        self.setup(self.app)
        _share_memory()
        for _ in range(self.num_workers):
            self.spawn_worker()

    def _say_broken(self, reason: str) -> None:
        for line in reason.splitlines():
            self.log.log(_EMERG, "%s", line)
        self.log.log(_EMERG, "the new configuration is not used; the old one goes on")

    def _continue_reload(self) -> None:
        """The second phase: when the new workers serve, the old ones drain."""
        reload = self._reload
        assert reload is not None
        new = [worker for worker in self.WORKERS.values() if worker.age >= reload.oldest]
        if time.monotonic() > reload.until:
            self._abandon_reload(f"its workers did not start in {_BOOT_LIMIT:.0f} s")
        elif len(new) < self.num_workers:
            # One was killed: it is replaced; one that could not load has ended the reload already.
            self.spawn_worker()
        elif all(worker.serving() for worker in new):
            self._reload = None
            for pid, worker in list(self.WORKERS.items()):
                if worker.age < reload.oldest:
                    self._retire(pid)
            listen.close(reload.gone)
            if self.app.plan.pid_path != reload.before.pid_path and self.pidfile is not None:
                self.pidfile.unlink()
                self._write_pid_file()
            self.log.log(_NOTICE, "reloaded; %d workers serve the new configuration", len(new))

    def _abandon_reload(self, reason: str) -> None:
        reload, self._reload = self._reload, None
        assert reload is not None
        for pid, worker in list(self.WORKERS.items()):
            if worker.age >= reload.oldest:
                self._retire(pid, signal.SIGQUIT)
        self.LISTENERS = reload.old_sockets
        listen.close(reload.new)
        self.app.go_back(reload.before)
        self.setup(self.app)
        self._say_broken(reason or "the new workers failed")

    # --- stopping ---

    def handle_quit(self) -> None:
        """SIGQUIT: let every request end."""
        self._patient = True
        raise StopIteration

    def handle_winch(self) -> None:
        """SIGWINCH: end the workers gracefully, keep the main process (with USR2: the way back)."""
        if self.cfg.daemon or self.reexec_pid:
            self.num_workers = 0
            self.manage_workers()

    def stop(self, graceful: bool = True) -> None:
        """End all workers: gracefully with a limit, patiently without one, or at once."""
        if self.reexec_pid == 0 and self.master_pid == 0:
            listen.close(self.LISTENERS)
        else:
            for sock in self.LISTENERS:
                sock.close()
        self.LISTENERS = []
        limit = self.app.shutdown_timeout if self._patient else float(self.cfg.graceful_timeout)
        until = time.monotonic() + limit if limit else float("inf")
        if graceful:
            self.kill_workers(signal.SIGTERM)
        else:
            self.kill_workers(signal.SIGQUIT)
            until = time.monotonic() + 2.0
        again = time.monotonic() + _SIGNAL_AGAIN
        while self.WORKERS and time.monotonic() < until:
            self._reap_quietly()
            for number in super().wait_for_signals(0.05):
                if number == signal.SIGINT or (number == signal.SIGTERM and self._patient):
                    self.kill_workers(signal.SIGQUIT)
                    until = min(until, time.monotonic() + 2.0)
                    graceful = False
            if graceful and time.monotonic() > again:
                # A worker that was only just forked has this process's handlers still: the first signal was lost in them.
                self.kill_workers(signal.SIGTERM)
                again = time.monotonic() + _SIGNAL_AGAIN
        self.kill_workers(signal.SIGKILL)
        until = time.monotonic() + 2.0
        while self.WORKERS and time.monotonic() < until:
            self._reap_quietly()
            time.sleep(0.01)

    def _reap_quietly(self) -> None:
        """A worker that fails while everything ends is no news."""
        try:
            super().reap_workers()
        except HaltServer:
            return


def _share_memory() -> None:
    """Before workers are made: what is here now stays shared with them while nobody writes to it, and a collection would."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def post_fork(arbiter: ProxyArbiter, worker: Any) -> None:
    """gunicorn's hook of that name."""
    arbiter.forked()


def run_arbiter(app: ProxyServer, daemon: bool) -> int:
    """Run the server until it ends; its exit status. In a worker's process SystemExit goes through."""
    arbiter = ProxyArbiter(app)
    try:
        arbiter.bind()
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"wsgi-proxy: [emerg] {line}", file=sys.stderr)
        return 1
    if daemon:
        util.daemonize()
    pid = os.getpid()
    try:
        arbiter.run()
    except SystemExit as end:
        if os.getpid() != pid:
            raise
        # The last worker is gone, and with it the need for the memory they shared.
        unlink_files_of(pid)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
