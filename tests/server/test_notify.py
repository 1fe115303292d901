"""The service manager's side, played by the test: readiness, and sockets that are passed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support import Running, accepts, fetch, free_port, run_proxy, running, wait_until
from wsgi_proxy.server.notify import ServiceManager, passed_descriptors

ours = pytest.mark.ours_alone("gunicorn's own workers run under gunicorn's arbiter")


def conf(where: str, text: str = "one") -> str:
    return f"daemon off; worker_processes 2; events {{}} http {{ server {{ listen {where}; return 200 {text}; }} }}"


@ours
def test_the_manager_hears_of_the_start_the_reload_and_the_end(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with run_proxy(conf(f"127.0.0.1:{port}"), tmp_path, env=env) as proxy:
            assert manager.recv(1000) == b"READY=1\nSTATUS=2 workers serve"
            assert fetch(port).text == "one"
            (proxy.folder / "nginx.conf").write_text(conf(f"127.0.0.1:{port}", "two"))
            proxy.signal(signal.SIGHUP)
            assert manager.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(1000) == b"READY=1\nSTATUS=2 workers serve"
            assert fetch(port).text == "two"
            (proxy.folder / "nginx.conf").write_text("nonsense")
            proxy.signal(signal.SIGHUP)
            assert manager.recv(1000).startswith(b"RELOADING=1\n")
            assert manager.recv(1000).startswith(b"READY=1\n"), "a reload that failed is over, too"
            proxy.signal(signal.SIGQUIT)
            assert manager.recv(1000) == b"STOPPING=1"


def listening(address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.bind(address)
    sock.listen(10)
    return sock


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_sockets_of_the_manager_are_used_and_stay(kind: str, tmp_path: Path) -> None:
    port = free_port()
    address: str | tuple[str, int] = ("127.0.0.1", port) if kind == "tcp" else str(tmp_path / "s")
    wanted = f"127.0.0.1:{port}" if kind == "tcp" else f"unix:{tmp_path}/s"
    where = port if kind == "tcp" else Path(str(address))
    with listening(address) as held:
        for _ in range(2):
            server = _inheriting(wanted, held, tmp_path)
            with running(server, [where]):
                wait_until(lambda: fetch(where).text == "one", "a response")
            assert accepts(where), "clients wait in the manager's socket until the next start"
            if kind == "unix":
                assert Path(str(address)).exists(), "the file is the manager's"


def _inheriting(wanted: str, held: socket.socket, folder: Path) -> Running:
    """Start the command with `held` as descriptor 3."""
    (folder / "nginx.conf").write_text(conf(wanted))
    inner = [sys.executable, "-m", "wsgi_proxy", "-p", f"{folder}/", "-c", "nginx.conf"]
    launcher = (
        "import os, socket, sys\n"
        f"sock = socket.socket(fileno={held.fileno()})\n"
        "os.dup2(sock.fileno(), 3)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return Running([sys.executable, "-c", launcher, *inner], folder, pass_fds=[held.fileno()])


def test_a_socket_that_no_listen_names_stops_the_start(tmp_path: Path) -> None:
    with listening(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        server = _inheriting(f"127.0.0.1:{free_port()}", held, tmp_path)
        wait_until(lambda: server.process.poll() is not None, "the end")
    assert server.process.returncode == 1
    assert f'the service manager passes 127.0.0.1:{port}, which no "listen" names' in server.log()


def test_descriptors_for_another_process_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, pid, found in (("2", str(os.getpid()), [3, 4]), ("2", "1", []), ("x", str(os.getpid()), []), ("", "", [])):
        monkeypatch.setenv("LISTEN_FDS", number)
        monkeypatch.setenv("LISTEN_PID", pid)
        assert passed_descriptors() == found
        assert "LISTEN_FDS" not in os.environ


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    manager = ServiceManager()
    manager.ready(1)
    manager.stopping()
    assert not manager.waits


def test_an_absent_manager_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    manager = ServiceManager()
    assert manager.waits and "NOTIFY_SOCKET" not in os.environ
    manager.ready(1)
    assert not manager.waits
