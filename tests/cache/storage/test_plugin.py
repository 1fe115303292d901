"""A storage by name: created once, checked, its errors reported uniformly."""

import pytest
from cachecontrol.cache import BaseCache, DictCache

from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import BrokenEntry, Entry
from wsgi_proxy.cache.storage.files import FileStorage
from wsgi_proxy.cache.storage.format import COMPLETE, SUPERBLOCK, Superblock, encode
from wsgi_proxy.cache.storage.plugin import BlobStorage, decode_bytes, load_storage, open_plugin_zone
from wsgi_proxy.config import CacheZone

made = DictCache()
not_a_storage = 5


def factory():
    return made


def broken():
    raise RuntimeError("no")


@pytest.mark.parametrize("name", ["made", "factory"])
def test_an_instance_or_what_makes_one(name):
    assert load_storage(f"tests.cache.storage.test_plugin:{name}") is made


def test_a_class():
    assert isinstance(load_storage("cachecontrol.cache:DictCache"), BaseCache)


@pytest.mark.parametrize(
    "name",
    [
        "nowhere:x",
        "tests.cache.storage.test_plugin:absent",
        "tests.cache.storage.test_plugin:not_a_storage",
        "tests.cache.storage.test_plugin:broken",
        "os:getpid",
    ],
)
def test_what_is_none_is_one_kind_of_error(name):
    with pytest.raises(OSError, match="storage"):
        load_storage(name)


def test_only_our_own_files_have_copies_in_memory(tmp_path, monkeypatch):
    zone = open_plugin_zone(CacheZone("z", "tests.cache.storage.test_plugin:made"), str(tmp_path))
    assert isinstance(zone.store, BlobStorage) and zone.memory._limit == 0
    zone.close()
    monkeypatch.setattr("tests.cache.storage.test_plugin.made", FileStorage(str(tmp_path / "f")))
    zone = open_plugin_zone(CacheZone("z", "tests.cache.storage.test_plugin:made"), str(tmp_path))
    assert isinstance(zone.store, FileStorage) and zone.memory._limit > 0
    zone.close()


def entry():
    return Entry("http://h/a", "/a", 200, "OK", [("A", "1")], Freshness(1.0, 2.0), 5.0)


def test_blobs_are_checked_like_files():
    whole = encode(entry(), b"body")
    assert decode_bytes(whole).body == b"body"
    for broken in (whole[:-1], whole + b"", b"", whole[:64]):
        if broken != whole:
            with pytest.raises(BrokenEntry):
                decode_bytes(broken)


def test_a_head_that_is_not_ours_is_refused():
    for head in (b"[]", b"{}", b'{"key":"k"}', b'{"key":"k","kind":"vary"}', b"\xff", b'{"key":1}'):
        block = Superblock(COMPLETE, head, SUPERBLOCK, SUPERBLOCK + len(head), 0, 0, 1)
        with pytest.raises(BrokenEntry):
            decode_bytes(block.pack() + head)


class Failing(BaseCache):
    def get(self, key):
        raise RuntimeError("away")

    def set(self, key, value, expires=None):
        raise KeyError("away")

    def delete(self, key):
        raise ConnectionError("away")


def test_whatever_a_storage_raises_is_one_kind_of_error():
    storage = BlobStorage(Failing())
    for call in (lambda: storage.load("x"), lambda: storage.put("x", b"", 1), lambda: storage.delete("x")):
        with pytest.raises(OSError, match="away"):
            call()
