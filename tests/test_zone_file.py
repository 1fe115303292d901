"""Which file the workers of one arbiter share, and which files are swept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsgi_proxy.zone_file import _start_time, arbiter, arbiter_of, file_name, open_locked, sweep, unlink_files_of


def forked(work: object) -> int:
    """The pid of a forked child that runs `work()` and ends with 0, or with 1 after an exception."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()  # type: ignore[operator]
        code = 0
    finally:
        os._exit(code)
    return 0


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_arbiter_is_the_parent_of_a_forked_process_only() -> None:
    assert arbiter() == os.getpid()
    parent = os.getpid()

    def work() -> None:
        assert arbiter() == parent

    assert ended(forked(work)) == 0
    script = "import os; from wsgi_proxy.zone_file import arbiter; assert arbiter() == os.getpid()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20, env=environment)


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
    assert sorted(sweep(tmp_path)) == sorted([stale, reused])
    assert alive.exists() and foreign.exists() and elsewhere.exists()


def test_a_file_in_use_is_not_swept(tmp_path: Path) -> None:
    dead = forked(lambda: None)
    ended(dead)
    path = tmp_path / "-".join([*file_name("x").split("-")[:4], str(dead), "123", "ab"])
    fd = open_locked(path)
    assert sweep(tmp_path) == []
    os.close(fd)
    assert sweep(tmp_path) == [path]


def test_a_link_or_a_strangers_file_is_not_opened(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        open_locked(link)
    assert not (tmp_path / "target").exists()


def test_an_arbiter_can_remove_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgi_proxy.zone_file.folder", lambda: tmp_path)
    ours, other = tmp_path / file_name("x"), tmp_path / file_name("x").replace(f"-{os.getpid()}-", "-1-")
    ours.touch()
    other.touch()
    assert arbiter_of(ours) == os.getpid() and arbiter_of(other) == 1 and arbiter_of(tmp_path / "else") == 0
    unlink_files_of(os.getpid())
    assert not ours.exists() and other.exists()
