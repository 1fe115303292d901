"""gunicorn's arbiter with workers that drain: a retired worker finishes its connections and does not count.

Rules:
- A new worker has its signals blocked until it has handlers for them, so none is lost. A retired worker gets its signal once.
- A worker that dies is replaced, regardless of the number of draining workers.
- After QUIT requests have until `worker_shutdown_timeout`, by default without a limit. After TERM they have `graceful_timeout`,
  after INT no time.
"""

from __future__ import annotations

import gc
import signal
import time
from typing import TYPE_CHECKING, Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from ..logs import errorlog
from . import listen

if TYPE_CHECKING:
    from .application import ProxyServer

_ALERT = errorlog.LEVELS["alert"]


class DrainingArbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's arbiter, changed as the module's rules say."""

    app: ProxyServer
    LISTENERS: list[Any]

    def __init__(self, app: ProxyServer) -> None:
        super().__init__(app)
        self._patient = False
        self._retired: dict[int, int] = {}
        """The signal sent to each draining worker, by process ID."""

    def spawn_worker(self) -> int:
        """Start a worker. If fork fails, log it and return 0; the main loop tries again.

        A worker inherits this process's signal handlers, which would swallow a signal. `ProxyWorker.init_signals` replaces them
        and unblocks the signals.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self.worker_class.SIGNALS)
        try:
            pid: int = super().spawn_worker()
        except OSError as error:
            self.log.log(_ALERT, "fork() failed (%s: %s)", error.errno, error.strerror)
            return 0
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def active(self) -> dict[int, Any]:
        """Return the workers that are not draining, by process ID."""
        return {pid: worker for pid, worker in self.WORKERS.items() if pid not in self._retired}

    def manage_workers(self) -> None:
        """Start or retire workers until `num_workers` are active, not counting draining ones."""
        active = self.active()
        for _ in range(self.num_workers - len(active)):
            self.spawn_worker()
        for pid in sorted(active, key=lambda pid: int(active[pid].age))[: max(0, len(active) - self.num_workers)]:
            self.retire(pid)

    def retire(self, pid: int, number: int = signal.SIGTERM) -> None:
        """Send a worker the signal to drain, once."""
        if pid not in self._retired:
            self._retired[pid] = number
            self.kill_worker(pid, number)

    def forget_ended(self) -> None:
        """Forget the signals of workers that have ended."""
        self._retired = {pid: number for pid, number in self._retired.items() if pid in self.WORKERS}

    # --- stopping ---

    def handle_quit(self) -> None:
        """Stop after all requests have finished (SIGQUIT)."""
        self._patient = True
        raise StopIteration

    def handle_winch(self) -> None:
        """Stop the workers gracefully and keep the main process, to allow a return after USR2 (SIGWINCH)."""
        if self.cfg.daemon or self.reexec_pid:
            self.num_workers = 0
            self.manage_workers()

    def stop(self, graceful: bool = True) -> None:
        """Stop all workers: at once, within `graceful_timeout`, or after SIGQUIT within `worker_shutdown_timeout`."""
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
        while self.WORKERS and time.monotonic() < until:
            self._reap_quietly()
            for number in super().wait_for_signals(0.05):
                if number == signal.SIGINT or (number == signal.SIGTERM and self._patient):
                    self.kill_workers(signal.SIGQUIT)
                    until = min(until, time.monotonic() + 2.0)
                    graceful = False
        self.kill_workers(signal.SIGKILL)
        until = time.monotonic() + 2.0
        while self.WORKERS and time.monotonic() < until:
            self._reap_quietly()
            time.sleep(0.01)

    def _reap_quietly(self) -> None:
        """Reap workers and ignore failures, because the server is stopping."""
        try:
            super().reap_workers()
        except HaltServer:
            return


def share_memory() -> None:
    """Freeze the present objects before a fork: a garbage collection in a worker would write to them and end the sharing."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
