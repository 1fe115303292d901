"""The check of the files that a start writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import environment, free_port
from wsgi_proxy.server import preflight


def conf(port: int, main: str = "", http: str = "") -> str:
    return f"{main} events {{}} http {{ {http} server {{ listen 127.0.0.1:{port}; return 200 here; }} }}"


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wsgi_proxy", *words]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120)


def test_what_cannot_be_written_is_a_fault_of_the_test_and_of_the_start(tmp_path: Path) -> None:
    port = free_port()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    main = f"pid {blocked}/x.pid; error_log {tmp_path}/missing/error.log;"
    http = f"access_log {tmp_path}; client_body_temp_path {blocked}/body; proxy_cache_path {blocked} keys_zone=z:1m;"
    (tmp_path / "nginx.conf").write_text(conf(port, main, http))
    wanted = [
        f'open() "{blocked}/x.pid" failed (20: Not a directory)',
        f'open() "{tmp_path}" failed (21: Is a directory)',
        f'open() "{tmp_path}/missing/error.log" failed (2: No such file or directory)',
        f'mkdir() "{blocked}" failed (20: Not a directory)',
        f'mkdir() "{blocked}/body" failed (20: Not a directory)',
    ]
    for flags in (["-t"], []):
        done = run(*flags, "-c", "nginx.conf", cwd=tmp_path)
        assert done.returncode == 1
        assert [line.removeprefix("wsgi-proxy: [emerg] ") for line in done.stderr.splitlines()][:5] == wanted
    assert sorted(os.listdir(tmp_path)) == ["blocked", "nginx.conf"]


def test_the_check_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(conf(free_port(), "", "proxy_cache_path cache keys_zone=z:1m;"))
    assert run("-t", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path) == ["nginx.conf"]


def test_a_start_without_a_directory_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(tempfile, "tempdir", None)
    preflight.use_temporary_directory()
    assert tempfile.tempdir == "/dev/shm"
