"""The gunicorn application of the `wsgi-proxy` command, made from a configuration.

Rules:
- All settings come from the configuration. gunicorn's configuration files and environment variables are not read.
- Each worker makes the WSGI application after gevent has patched the process. The main process never does.
- External resources (sockets, certificates, log files, accounts) are acquired before the workers start, so that a fault is found
  while the old configuration is still running.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from ..config import Config, Listen, ServerBlock, locations_of
from ..errors import ConfigError, Fault
from ..logs import constant_paths, errorlog, keep
from ..shm import memory_directory
from ..worker import ListenerSettings, buffer_limits
from . import preflight, tls
from .arbiter import post_fork, run_arbiter
from .directories import directories_of, make_directories
from .listen import Address, covering, listens_of
from .log import ServerLog
from .watch import Watcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_GRACE = 30
"""Seconds that requests in progress have after SIGTERM."""


class ServerPlan:
    """A configuration with its addresses, TLS contexts, account, listener settings and watcher. Raises ConfigError."""

    def __init__(self, config: Config) -> None:
        self.config = config
        # Before the certificates are read, so that a later change is noticed.
        self.watcher = Watcher(config) if config.main.watch else None
        self.listens: dict[Address, Listen] = listens_of(config)
        self.contexts: dict[Address, Any] = tls.contexts(config)
        self.pid_path = os.path.join(config.prefix, config.main.pid) if config.main.pid else ""
        self.account = _account(config)
        self.settings = {address: self._settings(address) for address in self.listens}

    def _settings(self, address: Address) -> ListenerSettings:
        server, listen = _default_server(self.config, address, self.listens)
        core = server.settings.core
        context = self.contexts.get(address)
        longest, whole = buffer_limits(server.large_client_header_buffers, server.client_header_buffer_size)
        return ListenerSettings(
            keepalive_timeout=core.keepalive_timeout,
            keepalive_header=core.keepalive_timeout_header,
            keepalive_requests=core.keepalive_requests,
            keepalive_time=core.keepalive_time,
            client_header_timeout=server.client_header_timeout,
            client_body_timeout=core.client_body_timeout,
            send_timeout=core.send_timeout,
            max_line=longest,
            max_field=longest,
            max_head=whole,
            max_fields=server.max_headers,
            proxy_protocol=listen.proxy_protocol,
            tls=None if context is None else (lambda: context),
            response_plain=True,
            http2=server.http2 or listen.http2,
            http2_streams=server.http2_max_concurrent_streams,
            http2_window=server.http2_body_preread_size,
            http2_chunk=core.http2_chunk_size,
        )


def _default_server(config: Config, address: Address, bound: dict[Address, Listen]) -> tuple[ServerBlock, Listen]:
    """Return the default server of an address, whose limits apply until the request's server is known (as in nginx)."""
    found: tuple[ServerBlock, Listen] | None = None
    for server in config.servers:
        for listen in server.listens:
            if covering(listen.address, bound) == address and (found is None or listen.default_server):
                found = server, listen
                if listen.default_server:
                    return found
    assert found is not None
    return found


def _account(config: Config) -> tuple[int, int] | None:
    """Return (user ID, group ID) of the workers, None if the process is not root or `user` is not set."""
    user, group = config.main.user, config.main.group
    if not user or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(Fault(f'getpwnam("{user}") failed', config.path)) from None
    if not group:
        return entry.pw_uid, entry.pw_gid
    import grp

    try:
        return entry.pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(Fault(f'getgrnam("{group}") failed', config.path)) from None


def require_readable(account: tuple[int, int] | None, config: Config, paths: Iterable[str] = (os.__file__, __file__)) -> None:
    """Raise ConfigError if the workers' account cannot read `paths`, for example because Python is in root's home directory.

    Without this check each worker would end with a traceback.
    """
    if account is None or account[0] == 0:
        return
    user = config.main.user
    groups = set(os.getgrouplist(user, account[1]))
    for path in map(os.path.realpath, paths):
        for part in (path, *map(str, PurePath(path).parents)):
            found = os.stat(part)
            bits = found.st_mode >> (6 if found.st_uid == account[0] else 3 if found.st_gid in groups else 0)
            if not bits & (4 if part == path else 1):
                raise ConfigError(Fault(f'user "{user}" may not read "{path}", which its workers need', config.path))


class ProxyServer(BaseApplication):  # type: ignore[misc]
    """gunicorn's application object: the arbiter's settings, and the workers' listener settings and WSGI application.

    `load` reads the configuration for a reload and raises ConfigError. Each worker calls `app_factory`.
    """

    def __init__(self, config: Config, load: Callable[[], Config], app_factory: Callable[[Config], WSGIApplication]) -> None:
        self._load = load
        self._factory = app_factory
        self.plan = ServerPlan(config)
        self._set_up_log(config)
        self._make_directories()
        super().__init__()

    # --- for gunicorn ---

    def load_config(self) -> None:
        """Translate the configuration into gunicorn's settings."""
        main = self.plan.config.main
        settings: dict[str, Any] = {
            "workers": main.worker_processes,
            "worker_class": "wsgi_proxy.worker.ProxyWorker",
            "worker_connections": main.worker_connections,
            "graceful_timeout": _GRACE,
            "proc_name": "wsgi-proxy",
            "logger_class": ServerLog,
            # gunicorn must not let a client set environ keys that the application trusts.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "header_map": "drop",
            "control_socket_disable": True,
            "bind": [],
            "post_fork": post_fork,
        }
        if memory_directory() is not None:
            # The heartbeat file. On a slow disk a live worker would look dead.
            settings["worker_tmp_dir"] = memory_directory()
        if self.plan.account is not None:
            settings["user"], settings["group"] = self.plan.account
            settings["initgroups"] = True
        variables = [entry for entry in main.env if "=" in entry]
        if variables:
            settings["raw_env"] = variables
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Return the WSGI application. Called in a worker."""
        return self._factory(self.plan.config)

    # --- for the arbiter ---

    def read(self) -> ServerPlan:
        """Read the configuration again and return its plan. Raises ConfigError."""
        plan = ServerPlan(self._load())
        require_readable(plan.account, plan.config)
        return plan

    def use(self, plan: ServerPlan) -> None:
        """Use this plan for new workers. Raises ConfigError if its logs cannot be opened, and then changes nothing."""
        preflight.make_log_directory(plan.config)
        self._set_up_log(plan.config)
        self._adopt(plan)

    def go_back(self, plan: ServerPlan) -> None:
        """Return to a plan that was in use before. If its logs cannot be opened, the present ones stay in use."""
        try:
            self._set_up_log(plan.config)
        except ConfigError as error:
            errorlog.line("emerg", str(error))
        self._adopt(plan)

    def _adopt(self, plan: ServerPlan) -> None:
        self.plan = plan
        self._make_directories()
        self.callable = None
        self.do_load_config()

    def _make_directories(self) -> None:
        make_directories(directories_of(self.plan.config), self.plan.account)

    def _set_up_log(self, config: Config) -> None:
        try:
            places = {location.core.error_log for location in locations_of(config) if location.core.error_log is not None}
            errorlog.setup(config.main.error_log, config.prefix, places)
        except OSError as error:
            path = os.fsdecode(error.filename)
            raise ConfigError(Fault(f'open() "{path}" failed ({error.errno}: {error.strerror})')) from error
        logs = [log for location in locations_of(config) for log in location.core.access_log]
        keep(constant_paths((*config.core.access_log, *logs), config.prefix))

    # --- for the workers ---

    @property
    def shutdown_timeout(self) -> float:
        """The limit in seconds for a draining worker; 0 means no limit."""
        return self.plan.config.main.worker_shutdown_timeout

    def listener_settings(self, socket_address: Any) -> ListenerSettings:
        """Return the limits of the listener that is bound to `socket_address`."""
        address: Address = socket_address[:2] if isinstance(socket_address, tuple) else socket_address
        return self.plan.settings[address]


def run(
    config: Config, load: Callable[[], Config], app_factory: Callable[[Config], WSGIApplication], *, daemon: bool = False
) -> int:
    """Run the configuration until a signal ends it, and return the exit status. `load` and `app_factory` are ProxyServer's.

    Raises ConfigError if the configuration cannot be run. Sockets that cannot be bound are reported here and give status 1.
    """
    if config.main.working_directory:
        os.chdir(config.main.working_directory)
    preflight.use_temporary_directory()
    preflight.make_log_directory(config)
    server = ProxyServer(config, load, app_factory)
    require_readable(server.plan.account, config)
    return run_arbiter(server, daemon)
