"""Directives of the main and events contexts."""

from __future__ import annotations

import os

import pytest

from wsgi_proxy.config import Config
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx


def main(text: str) -> Config:
    return nginx.loads(f"{text} events {{ worker_connections 99; use epoll; }}", prefix="/srv/x")


def test_processes() -> None:
    found = main("worker_processes 3; daemon off; pid p; worker_shutdown_timeout 5s; env A=b; env C; working_directory w;").main
    assert (found.worker_processes, found.worker_connections, found.daemon) == (3, 99, False)
    assert (found.pid, found.worker_shutdown_timeout, found.env) == ("/srv/x/p", 5.0, ("A=b", "C"))
    assert found.working_directory == "/srv/x/w"


def test_as_many_workers_as_processors() -> None:
    assert main("worker_processes auto;").main.worker_processes == len(os.sched_getaffinity(0))


def test_the_pid_file_has_a_default() -> None:
    assert main("").main.pid == ""


def test_modules_are_not_loaded() -> None:
    (warning,) = main("load_module modules/ngx_http_image_filter_module.so;").warnings
    assert warning.startswith('"load_module modules/ngx_http_image_filter_module.so" has no effect: no module is loaded')


def test_error_logs() -> None:
    assert main("error_log a; error_log stderr info; error_log b debug_http;").main.error_log == (
        ("/srv/x/a", "error"), ("stderr", "info"), ("/srv/x/b", "debug"))  # fmt: skip
    core = nginx.loads("error_log a; events {} http { error_log b warn; }", prefix="/srv/x").core
    assert core.error_log == (("/srv/x/b", "warn"),)


def test_the_user_is_looked_up_by_root_only() -> None:
    if os.geteuid() != 0:
        assert "super-user" in main("user nobody;").warnings[0]
        return
    assert (main("user root;").main.user, main("user root root;").main.group) == ("root", "root")
    with pytest.raises(ConfigError, match=r'getgrnam\("no-such-group"\) failed'):
        main("user root no-such-group;")


def test_master_process_off_is_told() -> None:
    assert "master_process off" in main("master_process off;").warnings[0]
