"""The folders of a configuration's zones: made for the workers' account, or a line in the log."""

import os
import stat

import pytest

from wsgi_proxy.cache.storage.directories import is_folder, make_folders
from wsgi_proxy.config import CacheZone


@pytest.mark.parametrize(
    ("path", "folder"),
    [("/a", True), ("/a:b", True), ("sub/a", True), ("memory", False), ("redis://h:1/0", False), ("my.package:thing", False)],
)
def test_what_is_a_folder(path, folder):
    assert is_folder(path) is folder


def test_folders_are_made_for_their_user(tmp_path):
    account = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    make_folders([CacheZone("a", "sub/a"), CacheZone("b", str(tmp_path / "b")), CacheZone("c", "memory")], str(tmp_path), account)
    for path in (tmp_path / "sub" / "a", tmp_path / "b"):
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, account[0])
    assert sorted(os.listdir(tmp_path)) == ["b", "sub"]


def test_what_is_there_stays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").write_text("x")
    make_folders([CacheZone("a", "a")], str(tmp_path))
    assert (tmp_path / "a" / "kept").read_text() == "x"


def test_what_cannot_be_made_is_a_line(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    make_folders([CacheZone("a", "file/a")], str(tmp_path))
    assert len(caplog.records) == 1 and "mkdir()" in caplog.text
