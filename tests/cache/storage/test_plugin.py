"""A storage by name: made once, checked, and its faults told in one way."""

import pytest
from cachecontrol.cache import BaseCache, DictCache

from wsgi_proxy.cache.storage.blob import BlobStorage
from wsgi_proxy.cache.storage.files import FileStorage
from wsgi_proxy.cache.storage.plugin import load_storage, open_plugin_zone
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
