"""The storage that a path names, and the privacy of files in shared memory."""

import os
import subprocess
import sys

import pytest
from cachecontrol.cache import DictCache

from tests.support.caching import Site
from wsgi_proxy.cache.storage import open as cacheopen
from wsgi_proxy.cache.storage.files import FileStorage
from wsgi_proxy.cache.storage.open import (
    is_directory,
    memory_directory,
    memory_zones,
    open_zone,
    private,
    sweep_shared_memory,
)
from wsgi_proxy.cache.storage.plugin import BlobStorage
from wsgi_proxy.config import CacheZone, SourceLine

FRESH = [("Cache-Control", "max-age=60")]


@pytest.fixture(autouse=True)
def own_memory(tmp_path, monkeypatch):
    directory = tmp_path / "shm"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr("wsgi_proxy.shm.segment.directory", lambda: str(directory))
    return directory


def test_a_directory_is_taken_relative_to_the_prefix(tmp_path):
    zone = open_zone(CacheZone("z", "sub/cache", levels=(1,)), str(tmp_path))
    assert isinstance(zone.store, FileStorage) and zone.store.directory == str(tmp_path / "sub/cache")
    assert (tmp_path / "sub/cache").stat().st_mode & 0o777 == 0o700
    zone.close()


def test_memory_is_shared_by_the_zones_of_one_server_and_place(own_memory):
    settings = CacheZone("z", "memory", place=SourceLine("nginx.conf", 3))
    one, two = Site(own_memory, zone=settings), Site(own_memory, zone=settings)
    other = Site(own_memory, zone=CacheZone("z", "memory", place=SourceLine("other.conf", 3)))
    for site in (one, two, other):
        site.responses((200, FRESH, b"x"))
    one.get("/")
    assert (two.get("/").word, other.get("/").word) == ("HIT", "MISS")
    seen = list(memory_zones(settings))
    assert [[entry.uri for entry in zone.entries()] for zone in seen] == [["/"]]
    for each in (*seen, *(zone for site in (one, two, other) for zone in site.cache.zones())):
        each.close()


def test_the_memory_of_the_dead_is_removed(own_memory):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    settings = CacheZone("z", "memory")
    living = memory_directory(settings)
    parts = os.path.basename(living).split("-")
    parts[-3] = str(child.pid)
    dead = own_memory / "-".join(parts)
    dead.mkdir(mode=0o700)
    os.mkdir(living, 0o700)
    sweep_shared_memory()
    assert not dead.exists() and os.path.isdir(living)


def test_meeting_directories_nobody_uses_are_removed(own_memory, monkeypatch):
    used = open_zone(CacheZone("used", "tests.cache.storage.test_open:Mine"))
    left = open_zone(CacheZone("left", "tests.cache.storage.test_open:Mine"))
    left.close()
    sweep_shared_memory()
    assert len(os.listdir(own_memory)) == 2
    monkeypatch.setattr(cacheopen, "_UNUSED_AFTER", -1.0)
    sweep_shared_memory()
    assert [str(own_memory / name) for name in os.listdir(own_memory)] == [used.share.directory]
    used.close()


@pytest.mark.parametrize("how", ["open", "link", "file"])
def test_a_directory_that_others_may_have_made_is_refused(own_memory, how):
    target = own_memory / "directory"
    if how == "open":
        target.mkdir()
        target.chmod(0o777)
    elif how == "link":
        (own_memory / "elsewhere").mkdir(mode=0o700)
        target.symlink_to(own_memory / "elsewhere")
    else:
        target.write_text("")
    with pytest.raises(OSError):
        private(str(target))


class Mine(DictCache):
    """A user's own storage."""

    nested: type


def test_a_storage_by_name(tmp_path):
    zone_settings = CacheZone("z", "tests.cache.storage.test_open:Mine")
    site = Site(tmp_path, zone=zone_settings)
    assert isinstance(site.cache.zones()[0].store, BlobStorage)
    site.responses((200, [*FRESH, ("Vary", "A"), ("ETag", '"a"'), ("Accept-Ranges", "bytes")], b"x" * 100_000), (304, FRESH, b""))
    assert [site.get("/").word for _ in range(2)] == ["MISS", "HIT"]
    assert site.get("/", headers=[("Range", "bytes=0-2")]).body == b"xxx"
    site.now += 61
    assert [site.get("/").word for _ in range(2)] == ["REVALIDATED", "HIT"]
    site.get("/", "POST")
    assert site.get("/").word != "HIT"
    site.cache.close()


@pytest.mark.parametrize(
    ("path", "directory"),
    [("/a", True), ("/a:b", True), ("sub/a", True), ("memory", False), ("redis://h:1/0", False), ("my.package:thing", False)],
)
def test_what_is_a_directory(path, directory):
    assert is_directory(path) is directory
