"""Directories that the master makes: their owner, their mode, and failures."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.server.directories import directories_of, make_directories


def test_the_directories_of_a_configuration() -> None:
    text = """
    events {} http {
        proxy_cache_path sub/a keys_zone=a:1m; proxy_cache_path /b keys_zone=b:1m; proxy_cache_path memory keys_zone=c:1m;
        client_body_temp_path /bodies; server { location / { proxy_temp_path /responses; } }
    }
    """
    assert directories_of(nginx.loads(text, prefix="/pre")) == {"/pre/sub/a", "/b", "/bodies", "/responses"}


def test_directories_are_made_for_their_account(tmp_path: Path) -> None:
    account = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    made = [tmp_path / "sub" / "a", tmp_path / "b"]
    make_directories(map(str, made), account)
    for path in made:
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, account[0])


def test_a_directory_that_exists_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").write_text("x")
    make_directories([str(tmp_path / "a")])
    assert (tmp_path / "a" / "kept").read_text() == "x"


def test_a_failure_is_a_line_and_the_others_are_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    make_directories([str(tmp_path / "file" / "a"), str(tmp_path / "b")])
    assert len(caplog.records) == 1 and "mkdir()" in caplog.text
    assert (tmp_path / "b").is_dir()
