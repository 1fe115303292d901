"""Log files with variable names that stay open. tests/differential/test_log.py compares them with nginx's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.pools import Clock
from wsgi_proxy.config import OpenLogFileCache
from wsgi_proxy.logs.open_files import OpenFiles


def opened(tmp_path: Path) -> set[str]:
    """Return the names of the files below a directory that this process has open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith(f"{tmp_path}/"):
            found.add(Path(target).name)
    return found


def write(files: OpenFiles, tmp_path: Path, *names: str) -> None:
    for name in names:
        files.write(str(tmp_path / name), b"x\n")


def test_a_file_stays_open_from_its_min_uses_on_and_the_oldest_makes_room(tmp_path: Path) -> None:
    files = OpenFiles(OpenLogFileCache(3, min_uses=2), Clock())
    write(files, tmp_path, "old", "old", "once", "a")
    assert opened(tmp_path) == {"old"}
    write(files, tmp_path, "a", "b", "b")
    assert opened(tmp_path) == {"a", "b"}
    files.close()
    assert not opened(tmp_path)
    assert [(tmp_path / name).read_text() for name in ("old", "once", "a", "b")] == ["x\nx\n", "x\n", "x\nx\n", "x\nx\n"]


def test_files_without_lines_are_closed(tmp_path: Path) -> None:
    clock = Clock()
    files = OpenFiles(OpenLogFileCache(9, inactive=10), clock)
    write(files, tmp_path, "a", "b", "c", "d")
    clock.now += 11
    write(files, tmp_path, "d", "e")
    assert opened(tmp_path) == {"c", "d", "e"}
    files.close()


def test_a_renamed_file_is_written_to_for_valid_seconds(tmp_path: Path) -> None:
    clock = Clock()
    files = OpenFiles(OpenLogFileCache(9, valid=60, inactive=999), clock)
    write(files, tmp_path, "a")
    (tmp_path / "a").rename(tmp_path / "a.1")
    clock.now += 59
    write(files, tmp_path, "a")
    assert not (tmp_path / "a").exists()
    clock.now += 1
    write(files, tmp_path, "a", "a")
    assert ((tmp_path / "a.1").read_text(), (tmp_path / "a").read_text()) == ("x\nx\n", "x\nx\n")
    files.close()


def test_a_file_that_cannot_be_opened_is_forgotten(tmp_path: Path) -> None:
    files = OpenFiles(OpenLogFileCache(9, min_uses=5), Clock())
    (tmp_path / "d").mkdir()
    write(files, tmp_path, "d/a")
    (tmp_path / "d").rename(tmp_path / "e")
    for name in ("d/a", "none/b", "x\0"):
        with pytest.raises((OSError, ValueError)):
            write(files, tmp_path, name)
    (tmp_path / "d").mkdir()
    write(files, tmp_path, "d/a")
    assert (tmp_path / "d" / "a").read_text() == "x\n"
