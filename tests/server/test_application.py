"""server: the settings of gunicorn and of each listener, made from a configuration."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsgi_proxy.config import Config, CoreSettings, Listen, Location, Main, ServerBlock
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.logs import errorlog
from wsgi_proxy.server import arbiter as server_arbiter
from wsgi_proxy.server.application import ProxyServer, ServerPlan, require_readable, run


@pytest.fixture(autouse=True)
def error_log() -> Iterator[None]:
    """Undo the changes that a server makes to the process."""
    yield
    errorlog.setup((("stderr", "error"),))


def block(*listens: Listen, keepalive: float = 75.0, **more: Any) -> ServerBlock:
    return ServerBlock(listens=listens, settings=Location(core=CoreSettings(keepalive_timeout=keepalive)), **more)


def app_of(config: Config) -> Any:
    return lambda environ, start_response: [config.path.encode()]


def server_of(config: Config) -> ProxyServer:
    return ProxyServer(config, lambda: config, app_of)


def test_the_model_as_gunicorn_s_settings() -> None:
    main = Main(worker_processes=3, worker_connections=77, worker_shutdown_timeout=5.0, env=("A=b", "PATH"))
    server = server_of(Config(main=main, servers=(block(Listen(port=8081)),)))
    cfg = server.cfg
    assert (cfg.workers, cfg.worker_connections, cfg.worker_class_str) == (3, 77, "wsgi_proxy.worker.ProxyWorker")
    assert cfg.worker_class.__name__ == "ProxyWorker" and cfg.control_socket_disable and cfg.env == {"A": "b"}
    assert cfg.forwarded_allow_ips == [] and cfg.forwarder_headers == [] and cfg.header_map == "drop"
    assert cfg.accesslog is None and server.shutdown_timeout == 5.0


def test_heartbeats_are_in_memory_where_it_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, folder in ((True, "/dev/shm"), (False, None)):
        monkeypatch.setattr(os, "access", lambda path, mode, allowed=allowed: allowed)
        monkeypatch.setattr(os.path, "isdir", lambda path: True)
        assert server_of(Config()).cfg.worker_tmp_dir == folder


def test_each_listener_has_the_limits_of_its_default_server() -> None:
    config = Config(
        servers=(
            block(Listen(port=80), Listen(unix="/s"), keepalive=1.0, client_header_timeout=2.0),
            block(
                Listen(port=80, default_server=True, proxy_protocol=True),
                keepalive=3.0,
                large_client_header_buffers=(2, 100_000),
            ),
            block(Listen(host="127.0.0.1", port=80), Listen(host="::", port=80), keepalive=4.0),
        )
    )
    server = server_of(config)
    plain = server.listener_settings(("0.0.0.0", 80))
    assert (plain.keepalive_timeout, plain.max_line, plain.proxy_protocol, plain.tls) == (3.0, 99_998, True, None)
    assert (server.listener_settings("/s").keepalive_timeout, server.listener_settings("/s").client_header_timeout) == (1.0, 2.0)
    # As getsockname gives it for IPv6.
    assert server.listener_settings(("::", 80, 0, 0)).keepalive_timeout == 4.0
    assert set(server.plan.listens) == {("0.0.0.0", 80), ("::", 80), "/s"}


def test_the_application_is_made_for_the_present_plan() -> None:
    server = server_of(Config(path="one", servers=(block(Listen(port=80)),)))
    assert list(server.wsgi()({}, None)) == [b"one"] and server.wsgi() is server.wsgi()
    server.use(ServerPlan(Config(path="two", main=Main(worker_processes=4), servers=(block(Listen(port=81)),))))
    assert list(server.wsgi()({}, None)) == [b"two"] and server.cfg.workers == 4
    assert server.listener_settings(("0.0.0.0", 81))


def test_the_pid_file_is_under_the_prefix(tmp_path: Path) -> None:
    assert ServerPlan(Config(prefix=str(tmp_path), main=Main(pid="run/x.pid"))).pid_path == str(tmp_path / "run/x.pid")
    assert ServerPlan(Config(prefix=str(tmp_path), main=Main(pid="/run/x.pid"))).pid_path == "/run/x.pid"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its account")
def test_the_workers_account() -> None:
    nobody = pwd.getpwnam("nobody")
    assert ServerPlan(Config(main=Main(user="nobody"))).account == (nobody.pw_uid, nobody.pw_gid)
    assert ServerPlan(Config(main=Main(user="nobody", group="root"))).account == (nobody.pw_uid, 0)
    server = server_of(Config(main=Main(user="nobody")))
    assert (server.cfg.uid, server.cfg.gid) == (nobody.pw_uid, nobody.pw_gid)
    for user, group, words in (("no-such", "", 'getpwnam("no-such")'), ("root", "no-such", 'getgrnam("no-such")')):
        with pytest.raises(ConfigError) as caught:
            ServerPlan(Config(path="x.conf", main=Main(user=user, group=group)))
        assert str(caught.value) == f"x.conf: {words} failed"


@pytest.fixture
def program() -> Iterator[Path]:
    """A file, not below pytest's own directory, which no other user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.touch(0o644)
        yield path


def test_an_account_that_may_not_read_the_program_is_told_at_the_start(program: Path) -> None:
    config, paths = Config(path="x.conf", main=Main(user="nobody")), [str(program)]
    nobody = pwd.getpwnam("nobody")
    account = nobody.pw_uid, nobody.pw_gid
    program.parent.chmod(0o755)
    require_readable(account, config, paths)
    require_readable(None, config, paths)
    program.parent.chmod(0o700)
    with pytest.raises(ConfigError, match='x.conf: user "nobody" may not read ".*/program.py", which its workers need'):
        require_readable(account, config, paths)
    require_readable((0, 0), config, paths)
    program.parent.chmod(0o711)
    program.chmod(0o600)
    with pytest.raises(ConfigError):
        require_readable(account, config, paths)


def test_a_log_that_cannot_be_opened_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    main = Main(error_log=((str(tmp_path / "none" / "error.log"), "error"),))
    with pytest.raises(ConfigError, match=r'open\(\) ".*none/error.log" failed \(2: No such file or directory\)'):
        server_of(Config(main=main))


def test_run_reports_what_cannot_be_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_arbiter.listen, "_PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = Config(prefix=str(tmp_path), servers=(block(Listen(host="127.0.0.1", port=port)),))
        assert run(config, lambda: config, app_of) == 1
    assert f"[emerg] bind() to 127.0.0.1:{port} failed (98: Address already in use)" in capsys.readouterr().err
