"""The main process: gunicorn's arbiter with nginx's signals for reloading and stopping.

Rules:
- A reload has two phases. The first reads the new configuration, binds its sockets and starts its workers. When all of them
  serve, the second drains the old workers and closes the old sockets. A failure is logged and undone, and the old configuration
  stays in use.
- The main loop never waits for a worker. Old workers drain for as long as `worker_shutdown_timeout` allows.
- With `wsgi_proxy_watch` a changed file reloads (watch.py). A failure is one line of the log, and a repeated one none.
- HUP reloads, USR1 reopens the logs, QUIT, TERM and INT stop. USR2 is gunicorn's.
- `server/draining.py` keeps the number of workers and stops them.
"""

from __future__ import annotations

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
from ..status import BOARD
from . import listen
from .draining import DrainingArbiter, share_memory
from .notify import ServiceManager, passed_descriptors

if TYPE_CHECKING:
    from .application import ProxyServer, ServerPlan

_NOTICE, _EMERG = errorlog.LEVELS["notice"], errorlog.LEVELS["emerg"]

_PROMPT = 0.05
"""Seconds between two checks of the workers during a reload."""
_BOOT_LIMIT = 60.0
"""Seconds for new workers to load before the reload is abandoned."""


class PidFile(Pidfile):  # type: ignore[misc]
    """The pid file. An existing file is overwritten without a check, as in nginx."""

    def validate(self) -> None:
        return None

    def create(self, pid: int) -> None:
        directory = os.path.dirname(self.fname)
        if directory:
            os.makedirs(directory, exist_ok=True)
        super().create(pid)


class Reload:
    """A reload in progress: the state to restore if it fails, and the workers whose start it waits for."""

    def __init__(self, before: ServerPlan, old_sockets: list[Any], gone: list[Any], new: list[Any], oldest: int) -> None:
        self.before = before
        self.old_sockets = old_sockets
        self.gone = gone
        """Sockets that the new configuration does not need."""
        self.new = new
        """Sockets that only the new configuration needs."""
        self.oldest = oldest
        """gunicorn's `age` (a serial number) of the first worker of the new configuration."""
        self.until = time.monotonic() + _BOOT_LIMIT


class ProxyArbiter(DrainingArbiter):
    """gunicorn's arbiter, changed as the module's rules say."""

    app: ProxyServer
    pidfile: PidFile | None

    def __init__(self, app: ProxyServer) -> None:
        super().__init__(app)
        # USR2 runs the original command again. gunicorn's reconstruction does not support `python -m`.
        self.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
        self._reload: Reload | None = None
        self._reload_again = False
        self._by_watch = False
        """True if a changed file, and not a signal, caused the last reload."""
        self._watch_failure = ""
        self._manager = ServiceManager()

    # --- starting ---

    def bind(self) -> None:
        """Open the listening sockets, unless they are inherited (USR2). Raises ConfigError."""
        if "GUNICORN_FD" not in os.environ:
            wanted = self.app.plan.listens
            given = listen.passed(passed_descriptors(), wanted, self.cfg, self.log)
            self.LISTENERS, _ = listen.bind(wanted, given, self.cfg, self.log)

    def start(self) -> None:
        """Start as gunicorn does, but write the pid file after the workers have been started."""
        super().start()
        BOARD.start()
        share_memory()
        Arbiter.manage_workers(self)
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
        """Take over the name of the pid file once the old main process of a USR2 has ended."""
        was_second = self.master_pid != 0
        pidfile, self.pidfile = self.pidfile, None
        super().maybe_promote_master()
        self.pidfile = pidfile
        if was_second and self.master_pid == 0 and pidfile is not None:
            pidfile.rename(self.app.plan.pid_path)

    # --- workers ---

    def manage_workers(self) -> None:
        """Continue a reload in progress, else keep the number of workers."""
        if self._reload is not None:
            self._continue_reload()
            return
        super().manage_workers()
        if self._manager.waits and all(worker.serving() for worker in self.active().values()):
            self._manager.ready(self.num_workers)
        watcher = self.app.plan.watcher
        if self._reload_again:
            self._reload_again = False
            self.reload()
        elif watcher is not None and watcher.changed():
            self.reload(by_watch=True)

    def reap_workers(self) -> None:
        """Reap workers. A worker that cannot load ends the server only if no other worker serves."""
        before = self.active()
        while True:
            try:
                super().reap_workers()
                for pid, worker in before.items():
                    if pid not in self.WORKERS and not worker.ending():
                        BOARD.died()
                break
            except HaltServer as halt:
                self.forget_ended()
                if self._reload is not None:
                    self._abandon_reload(halt.reason)
                elif not any(worker.serving() for worker in self.active().values()):
                    raise
        self.forget_ended()

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Wait for signals, for a shorter time while a reload waits for its workers."""
        signals: list[int] = super().wait_for_signals(_PROMPT if self._reload is not None or self._manager.waits else timeout)
        return signals

    def forked(self) -> None:
        """Close the sockets that only the main process needs. Called in a new worker."""
        if self._reload is not None:
            # Otherwise a removed address would still accept connections that no worker serves.
            for sock in self._reload.gone:
                sock.close()

    def stop(self, graceful: bool = True) -> None:
        """Stop as `DrainingArbiter` does, and report it to the service manager."""
        self._manager.stopping()
        super().stop(graceful)

    # --- reloading ---

    def reload(self, by_watch: bool = False) -> None:
        """Run the first phase: read, bind, start the new workers. `by_watch` is True if a file has changed."""
        if self._reload is not None:
            # Reloads run one after the other, and the last one reads the latest file.
            self._reload_again = True
            return
        self._by_watch = by_watch
        self._manager.reloading()
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
            self._report_failure(str(error))
            return
        except Exception:  # a defect in the reader must not end a server that is running
            listen.close(made)
            self.log.exception("unexpected exception while reading the configuration")
            self._report_failure("the configuration cannot be read")
            return
        self._reload = Reload(before, old_sockets, gone, made, self.worker_age + 1)
        self._stats["reloads"] += 1
        self.LISTENERS = sockets
        self.setup(self.app)
        share_memory()
        for _ in range(self.num_workers):
            self.spawn_worker()

    def _report_failure(self, reason: str) -> None:
        if self._by_watch:
            line = "; ".join(reason.splitlines())
            if line != self._watch_failure:
                self._watch_failure = line
                self.log.log(_EMERG, "the changed configuration is not used, the old one stays in use: %s", line)
                BOARD.reloaded(reason)
            return
        for line in reason.splitlines():
            self.log.log(_EMERG, "%s", line)
        self.log.log(_EMERG, "the new configuration is not used; the old one stays in use")
        BOARD.reloaded(reason or "the new configuration is not used")

    def _continue_reload(self) -> None:
        """Run the second phase: once the new workers serve, drain the old ones."""
        reload = self._reload
        assert reload is not None
        new = [worker for worker in self.WORKERS.values() if worker.age >= reload.oldest]
        if time.monotonic() > reload.until:
            self._abandon_reload(f"its workers did not start in {_BOOT_LIMIT:.0f} s")
        elif len(new) < self.num_workers:
            # A new worker was killed, so it is replaced. One that could not load has already ended the reload.
            self.spawn_worker()
        elif all(worker.serving() for worker in new):
            self._reload = None
            for pid, worker in list(self.WORKERS.items()):
                if worker.age < reload.oldest:
                    self.retire(pid)
            listen.close(reload.gone)
            if self.app.plan.pid_path != reload.before.pid_path and self.pidfile is not None:
                self.pidfile.unlink()
                self._write_pid_file()
            self._watch_failure = ""
            self.log.log(_NOTICE, "reloaded; %d workers serve the new configuration", len(new))
            BOARD.reloaded()

    def _abandon_reload(self, reason: str) -> None:
        reload, self._reload = self._reload, None
        assert reload is not None
        for pid, worker in list(self.WORKERS.items()):
            if worker.age >= reload.oldest:
                self.retire(pid, signal.SIGQUIT)
        self.LISTENERS = reload.old_sockets
        listen.close(reload.new)
        self.app.go_back(reload.before)
        self.setup(self.app)
        self._report_failure(reason or "the new workers failed")


def post_fork(arbiter: ProxyArbiter, worker: Any) -> None:
    """Call `forked` in a new worker (gunicorn's hook)."""
    arbiter.forked()


def run_arbiter(app: ProxyServer, daemon: bool) -> int:
    """Run the server until it ends and return its exit status. In a worker process SystemExit is passed on."""
    arbiter = ProxyArbiter(app)
    try:
        arbiter.bind()
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"wsgi-proxy: [emerg] {line}", file=sys.stderr)
        print(listen.cure(str(error)), file=sys.stderr)
        return 1
    if daemon:
        util.daemonize()
    pid = os.getpid()
    try:
        arbiter.run()
    except SystemExit as end:
        if os.getpid() != pid:
            raise
        # All workers have ended, so their shared memory is no longer needed.
        unlink_files_of(pid)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except HaltServer as halt:
        # gunicorn handles it only once its main loop runs.
        errorlog.line("emerg", halt.reason)
        arbiter.stop(False)
        unlink_files_of(pid)
        return int(halt.exit_status)
    return 0
