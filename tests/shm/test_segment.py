"""The file that the workers of one arbiter share, and the removal of unused files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import wait_until
from tests.support.forks import ended, forked
from wsgi_proxy.shm.segment import _start_time, arbiter, arbiter_of, file_name, open_locked, sweep, unlink_files_of


def test_the_arbiter_is_the_parent_of_a_forked_process_only() -> None:
    assert arbiter() == os.getpid()
    parent = os.getpid()

    def work() -> None:
        assert arbiter() == parent

    assert ended(forked(work)) == 0
    script = "import os; from wsgi_proxy.shm.segment import arbiter; assert arbiter() == os.getpid()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=environment)


def test_a_daemon_is_its_own_arbiter(tmp_path: Path) -> None:
    """Forked twice into its own session, with process 1 (or the subreaper) as parent."""
    script = f"""
import os, time
from wsgi_proxy.shm.segment import arbiter
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
while os.getppid() != 1 and time.monotonic() < {time.monotonic() + 2}:
    time.sleep(0.01)
with open({str(tmp_path / "new")!r}, "w") as file:
    file.write(f"{{os.getppid()}} {{arbiter() == os.getpid()}}")
os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "said")!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=environment)
    wait_until((tmp_path / "said").exists, "the daemon's word")
    parent, own = (tmp_path / "said").read_text().split()
    assert own == "True" or parent != "1"


def test_a_word_in_the_environment_brings_processes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_PROXY_ZONE", "1")
    numbered = file_name("key")
    assert f"-{os.getpid()}-" not in numbered
    monkeypatch.setenv("WSGI_PROXY_ZONE", "blue")
    assert file_name("key") == file_name("key") != numbered
    assert file_name("key") != file_name("other")


def test_a_file_of_a_dead_arbiter_is_swept_and_others_are_not(tmp_path: Path) -> None:
    ended_pid = forked(lambda: None)
    ended(ended_pid)
    name = Path(file_name("x")).name.split("-")
    stale = tmp_path / "-".join([*name[:4], str(ended_pid), "123", "ab"])
    reused = tmp_path / "-".join([*name[:4], "1", "123", "ab"])
    alive = tmp_path / "-".join([*name[:4], "1", str(_start_time(1)), "ab"])
    foreign = tmp_path / "wsgi-proxy-something-else"
    elsewhere = tmp_path / "-".join([*name[:3], "7", str(ended_pid), "123", "ab"])
    for path in (stale, reused, alive, foreign, elsewhere):
        path.write_bytes(b"x")
    assert sorted(sweep([tmp_path])) == sorted([stale, reused])
    assert alive.exists() and foreign.exists() and elsewhere.exists()


def test_a_file_in_use_is_not_swept(tmp_path: Path) -> None:
    dead = forked(lambda: None)
    ended(dead)
    path = tmp_path / "-".join([*file_name("x").split("-")[:4], str(dead), "123", "ab"])
    fd = open_locked(path)
    assert sweep([tmp_path]) == []
    os.close(fd)
    assert sweep([tmp_path]) == [path]


def test_a_link_or_a_strangers_file_is_not_opened(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        open_locked(link)
    assert not (tmp_path / "target").exists()


def test_an_arbiter_can_remove_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgi_proxy.shm.segment.directory", lambda: str(tmp_path))
    ours, other = tmp_path / file_name("x"), tmp_path / file_name("x").replace(f"-{os.getpid()}-", "-1-")
    ours.touch()
    other.touch()
    assert arbiter_of(ours) == os.getpid() and arbiter_of(other) == 1 and arbiter_of(tmp_path / "else") == 0
    unlink_files_of(os.getpid())
    assert not ours.exists() and other.exists()
