"""What the `wsgi-proxy` command runs: a gunicorn application made from a configuration.

Rules:
- The configuration decides everything; gunicorn's own configuration files and environment are not read.
- The WSGI application is made in each worker, after gevent has patched it, and never in the main process.
- Whatever a configuration needs of the outside (sockets, certificates, log files, accounts) is taken before its workers start, so
  that a fault is found while the old configuration still runs.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from ..cache import make_folders
from ..config import Config, Listen, ServerBlock, locations_of
from ..errors import ConfigError, Fault
from ..logs import constant_paths, errorlog, keep
from ..proxy import tempfiles
from ..shm import memory_directory
from ..worker import ListenerSettings, buffer_limits
from . import tls
from .arbiter import post_fork, run_arbiter
from .listen import Address, covering, listens_of
from .log import ServerLog

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_GRACE = 30
"""Seconds that SIGTERM gives the requests in progress."""


class ServerPlan:
    """A configuration and what was prepared for it. Raises ConfigError."""

    def __init__(self, config: Config) -> None:
        self.config = config
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
        )


def _default_server(config: Config, address: Address, bound: dict[Address, Listen]) -> tuple[ServerBlock, Listen]:
    """The server block whose limits hold before the request's own is known (nginx: the default server of the address)."""
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
    """(uid, gid) for the workers; None where we may not change it (nginx then warns and goes on)."""
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
    """Workers read this program and Python's library under their own account; in root's home they could not.

    Raises ConfigError, so that the fault is told at the start and not by each worker's traceback.
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
    """gunicorn's application object: settings for the arbiter, listener settings and the WSGI application for the workers.

    `load` reads the configuration again for a reload (ConfigError when it is broken); `app_factory` is called in each worker.
    """

    def __init__(self, config: Config, load: Callable[[], Config], app_factory: Callable[[Config], WSGIApplication]) -> None:
        self._load = load
        self._factory = app_factory
        self.plan = ServerPlan(config)
        self._set_up_log(config)
        self._make_folders()
        super().__init__()

    # --- for gunicorn ---

    def load_config(self) -> None:
        """The model as gunicorn's settings."""
        main = self.plan.config.main
        settings: dict[str, Any] = {
            "workers": main.worker_processes,
            "worker_class": "wsgi_proxy.worker.ProxyWorker",
            "worker_connections": main.worker_connections,
            "graceful_timeout": _GRACE,
            "proc_name": "wsgi-proxy",
            "logger_class": ServerLog,
            # No client sets what the application trusts.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "header_map": "drop",
            "control_socket_disable": True,
            "bind": [],
            "post_fork": post_fork,
        }
        if memory_directory() is not None:
            # The heartbeat's file: on a disk a slow write would look like a dead worker.
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
        """The WSGI application, in a worker."""
        return self._factory(self.plan.config)

    # --- for the arbiter ---

    def read(self) -> ServerPlan:
        """The configuration as it is now. Raises ConfigError."""
        plan = ServerPlan(self._load())
        require_readable(plan.account, plan.config)
        return plan

    def use(self, plan: ServerPlan) -> None:
        """Start workers by this plan from now on. ConfigError when its logs cannot be opened: nothing is changed then."""
        self._set_up_log(plan.config)
        self._take(plan)

    def go_back(self, plan: ServerPlan) -> None:
        """Start workers by this plan, which was in use before, again; where its logs are gone, the present ones go on."""
        try:
            self._set_up_log(plan.config)
        except ConfigError as error:
            errorlog.line("emerg", str(error))
        self._take(plan)

    def _take(self, plan: ServerPlan) -> None:
        self.plan = plan
        self._make_folders()
        self.callable = None
        self.do_load_config()

    def _make_folders(self) -> None:
        config, account = self.plan.config, self.plan.account
        make_folders(config.cache_zones.values(), config.prefix, account)
        bodies = {path for place in locations_of(config) for path in (place.core.client_body_temp_path, place.proxy.temp_path)}
        tempfiles.make_directories(filter(None, bodies), account)

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
        """Seconds that a draining worker may take; 0 for as long as its connections last."""
        return self.plan.config.main.worker_shutdown_timeout

    @property
    def http2(self) -> bool:
        """Whether any listener speaks HTTP/2."""
        return any(server.http2 or any(listen.http2 for listen in server.listens) for server in self.plan.config.servers)

    def listener_settings(self, where: Any) -> ListenerSettings:
        """The limits for the listener bound to this socket address."""
        address: Address = (where[0], where[1]) if isinstance(where, tuple) else where
        return self.plan.settings[address]


def run(
    config: Config, load: Callable[[], Config], app_factory: Callable[[Config], WSGIApplication], *, daemon: bool = False
) -> int:
    """Run the configuration until a signal ends it; the exit status. `load` and `app_factory` as in ProxyServer.

    Raises ConfigError when the first configuration cannot be run; sockets that cannot be bound are reported here, and give 1.
    """
    if config.main.working_directory:
        os.chdir(config.main.working_directory)
    server = ProxyServer(config, load, app_factory)
    require_readable(server.plan.account, config)
    return run_arbiter(server, daemon)
