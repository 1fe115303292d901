"""The places of logs and pid files, and starts where the prefix, or everything, is read-only."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Running, environment, fetch, free_port, running, wait_until
from wsgi_proxy.cli import places
from wsgi_proxy.config import Config, Main

COMMAND = [sys.executable, "-m", "wsgi_proxy"]
#: A root file system that is read-only but for a memory file system on /dev/shm, as a container with a read-only root has.
READ_ONLY_ROOT = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -o remount,ro,bind /"
#: Another user without any capability, as in Kubernetes or OpenShift.
ANOTHER_USER = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]


def _may_mount() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("setpriv") is None or os.geteuid() != 0:
        return False
    return subprocess.run([unshare, "-m", "sh", "-c", READ_ONLY_ROOT], capture_output=True, timeout=60).returncode == 0


mounts = pytest.mark.skipif(not _may_mount(), reason="only root may mount a read-only root")


def conf(port: int, main: str = "", http: str = "") -> str:
    return f"{main} events {{}} http {{ {http} server {{ listen 127.0.0.1:{port}; return 200 here; }} }}"


@pytest.fixture
def prefix() -> Iterator[Path]:
    """A directory that every user may read, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def isolated(line: str, spare: Path) -> list[str]:
    """Return a command that runs a shell line as another user below a read-only root.

    If Python is in root's home directory, only its parts are visible there, and `spare` is an empty directory for the rest.
    """
    as_user = " ".join(ANOTHER_USER)
    setup = READ_ONLY_ROOT
    if not os.stat("/root").st_mode & 0o001:
        open_home = f"mount --bind /root {spare} && mount -t tmpfs -o mode=755 tmpfs /root"
        part = f"mkdir /root/$each && mount --bind {spare}/$each /root/$each"
        setup = f"{open_home} && for each in $(ls -A {spare}); do [ -d {spare}/$each ] && {part}; done; {setup}"
    return ["unshare", "-m", "sh", "-c", f"{setup} && exec {as_user} sh -c '{line}'"]


# --- logs -------------------------------------------------------------------------------------------------------------------


def test_in_the_foreground_logs_are_streams_with_and_without_a_directory(tmp_path: Path) -> None:
    for number in range(2):
        port = free_port()
        (tmp_path / "nginx.conf").write_text(conf(port, "daemon off;").replace("return 200 here", "root /no/such/directory"))
        with running(Running([*COMMAND, "-c", str(tmp_path / "nginx.conf")], tmp_path), [port]) as server:
            assert fetch(port, "/first").status == 404
            wait_until(lambda: '"GET /first HTTP/1.1" 404' in server.log(), "the line of the access log")  # noqa: B023
            assert 'open() "/no/such/directory/first" failed' in server.log()
            assert (tmp_path / "logs" / "nginx.pid").exists()
        assert sorted(os.listdir(tmp_path / "logs")) == [], number


def test_the_places_of_logs() -> None:
    at = Config(prefix="/p")
    assert places.settled(at).main.error_log == (("/p/logs/error.log", "error"),)
    assert places.settled(Config(prefix="/p", main=Main(daemon=False))).main.error_log == (("stderr", "error"),)
    assert places.settled(at, "/other.log").main.error_log == (("/other.log", "error"),)
    named = Config(prefix="/p", main=Main(error_log=(("x", "warn"),)))
    assert places.settled(named, "/other.log").main.error_log == (("x", "warn"),)


# --- a read-only prefix -----------------------------------------------------------------------------------------------------


@mounts
def test_a_read_only_prefix_stops_a_start_in_the_background(prefix: Path) -> None:
    (prefix / "nginx.conf").write_text(conf(free_port()))
    setup = f"mount --bind {prefix} {prefix} && mount -o remount,ro,bind {prefix}"
    for flags in ("-t", ""):
        line = f"{setup} && exec {sys.executable} -m wsgi_proxy {flags} -c {prefix}/nginx.conf"
        done = subprocess.run(["unshare", "-m", "sh", "-c", line], env=environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert f'[emerg] open() "{prefix}/logs/error.log" failed (30: Read-only file system)' in done.stderr


# --- a read-only root and another user --------------------------------------------------------------------------------------


@mounts
def test_a_read_only_root_and_any_user(prefix: Path) -> None:
    """The whole life of a container: start, reload and stop without flags for the pid file, and a body in a temporary file."""
    port = free_port()
    text = f"""daemon off; events {{}} http {{ client_body_buffer_size 1k; server {{ listen 127.0.0.1:{port};
        location /echo {{ proxy_pass http://127.0.0.1:{port}/end; }} location / {{ return 200 $pid; }} }} }}"""
    (prefix / "nginx.conf").write_text(text)
    command = f"{sys.executable} -m wsgi_proxy -c {prefix}/nginx.conf"
    pipe = prefix / "orders"
    os.mkfifo(pipe, 0o644)
    # The shell stays in the name space and runs the further commands.
    script = f"{command} & while read word; do {command} -s $word; echo told $word $?; done <{pipe}; wait; echo ended $?"
    spare = prefix / "spare"
    spare.mkdir()
    with tempfile.TemporaryDirectory() as outside, running(Running(isolated(script, spare), Path(outside)), []) as server:
        with open(pipe, "w") as orders:
            server.wait_until_up([port])
            assert fetch(port, "/echo", method="POST", body=b"x" * 5000).status == 200
            before = fetch(port).text
            orders.write("reload\n")
            orders.flush()
            wait_until(lambda: fetch(port).text != before, "the new worker")
            orders.write("quit\n")
        wait_until(lambda: "ended 0" in server.log(), "the end")
        assert "told reload 0" in server.log() and "told quit 0" in server.log()
        assert "failed" not in server.log() and "Traceback" not in server.log()


def test_a_pid_file_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TEMPORARY", ())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "prefix").write_text("no directory")
    config = Config(path=str(tmp_path / "nginx.conf"), prefix=str(tmp_path / "prefix"))
    found = places.settled(config, pid=True).main.pid
    assert os.path.dirname(found) == str(tmp_path)
    default = str(tmp_path / "prefix" / "logs" / "nginx.pid")
    assert places.pid_file(config) == default
    Path(found).write_text("1")
    assert places.pid_file(config) == found
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(found).st_uid + 1)
    assert places.pid_file(config) == default
    monkeypatch.undo()
    os.unlink(found)
    os.symlink("/proc/self/stat", found)
    assert stat.S_ISLNK(os.lstat(found).st_mode)
    assert not places._is_own_file(found)


def test_without_any_writable_directory_there_is_no_pid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert places.settled(Config(prefix=str(tmp_path)), pid=True).main.pid == ""
    assert places.settled(Config(prefix=str(tmp_path), main=Main(pid="/x")), pid=True).main.pid == "/x"


def test_a_server_whose_pid_file_is_elsewhere_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    config = Config(path=str(tmp_path / "nginx.conf"), prefix=str(tmp_path))
    assert not places.is_in_use(config)
    first, second, *_ = places._pid_files(config)
    Path(second).write_text(f"{os.getpid()}\n")
    assert places.is_in_use(config)
    Path(second).write_text("4194304999\n")
    assert not places.is_in_use(config)
    (tmp_path / "logs").mkdir()
    Path(first).write_text(f"{os.getpid()}\n")
    assert not places.is_in_use(config), "in the default place the usual check holds"
