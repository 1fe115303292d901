"""logfile: files that are moved, that cannot be opened, that children inherit, and that belong to another account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgi_proxy.logs import logfile
from wsgi_proxy.logs.logfile import LogFile, keep, reopen_kept

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "a.log"
    keep(())


def test_a_file_that_was_moved_away_is_written_on_until_it_is_opened_again(path: Path) -> None:
    file = LogFile(str(path))
    file.write(b"1\n")
    number = file.handle
    path.rename(path.with_suffix(".old"))
    file.write(b"2\n")
    file.open()
    file.write(b"3\n")
    assert (path.with_suffix(".old").read_text(), path.read_text()) == ("1\n2\n", "3\n")
    assert file.handle == number
    file.close()


def test_where_it_cannot_be_opened_again_the_old_file_goes_on(path: Path) -> None:
    folder = path.parent / "f"
    folder.mkdir()
    file = LogFile(str(folder / "a.log"))
    file.write(b"1\n")
    folder.rename(path.parent / "g")
    with pytest.raises(FileNotFoundError):
        file.open()
    file.write(b"2\n")
    assert (path.parent / "g" / "a.log").read_text() == "1\n2\n"
    file.close()


def test_kept_files_are_inherited(path: Path) -> None:
    folder = path.parent / "f"
    folder.mkdir()
    keep([str(folder / "a.log"), str(path.parent / "none" / "b.log")])
    folder.rename(path.parent / "g")  # like a directory that the child may not enter
    child = os.fork()
    if child == 0:
        LogFile(str(folder / "a.log")).write(b"1\n")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (path.parent / "g" / "a.log").read_text() == "1\n"


def test_keeping_others_lets_go_of_the_first(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    keep([str(path)])
    keep([str(path), str(path.parent / "b.log")])
    assert len(os.listdir("/proc/self/fd")) == before + 2
    keep(())
    assert len(os.listdir("/proc/self/fd")) == before and not logfile._kept


@root_only
def test_a_rotated_file_is_given_to_the_workers_account_but_nothing_else_is(path: Path) -> None:
    secret = path.parent / "secret"
    secret.write_text("")
    link, twin = path.parent / "link.log", path.parent / "twin.log"
    link.symlink_to(secret)
    os.link(secret, twin)
    keep([str(path), str(link), str(twin)])
    assert path.stat().st_uid == 0
    path.rename(path.with_suffix(".old"))
    reopen_kept(65534)
    assert (path.stat().st_uid, secret.stat().st_uid) == (65534, 0)
    assert path.with_suffix(".old").stat().st_uid == 0
