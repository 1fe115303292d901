"""Paths opened part by part. tests/differential/test_symlinks.py compares the responses with nginx's."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsgi_proxy.access.symlinks import file_status, open_file


def location(mode: str, begin: str | None = None) -> Any:
    core = SimpleNamespace(disable_symlinks=mode, disable_symlinks_from=None if begin is None else lambda exchange: begin)
    return SimpleNamespace(location=SimpleNamespace(core=core))


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("a")
    (tmp_path / "d" / "link").symlink_to("a")
    before = os.listdir("/proc/self/fd")
    for mode in ("on", "if_not_owner"):
        os.close(open_file(location(mode), bytes(tmp_path / "d" / "a")))
        assert file_status(location(mode), bytes(tmp_path) + b"//d/").st_mode == (tmp_path / "d").stat().st_mode
        with pytest.raises(FileNotFoundError):
            open_file(location(mode), bytes(tmp_path / "d" / "none"))
    with pytest.raises(OSError, match="symbolic links"):
        open_file(location("on"), bytes(tmp_path / "d" / "link"))
    assert os.listdir("/proc/self/fd") == before


def test_a_relative_path_begins_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    monkeypatch.chdir(tmp_path)
    os.close(open_file(location("on"), b"a"))
    os.close(open_file(location("on"), b"./a"))
