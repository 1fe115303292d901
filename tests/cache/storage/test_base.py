"""The contract of `Store`, for every storage."""

import pytest
from cachecontrol.cache import DictCache

from wsgi_proxy.cache.fill import private_fill
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.base import Store
from wsgi_proxy.cache.storage.entry import Entry, VaryIndex
from wsgi_proxy.cache.storage.files import FileStorage
from wsgi_proxy.cache.storage.format import encode
from wsgi_proxy.cache.storage.plugin import BlobStorage


@pytest.fixture(params=["files", "plugin"])
def store(request, tmp_path) -> Store:
    return FileStorage(str(tmp_path / "c"), (1, 2)) if request.param == "files" else BlobStorage(DictCache())


def entry():
    return Entry("http://h/a", "/a", 200, "OK", [("A", "1")], Freshness(1.0, 2.0), 5.0)


def adopted(store, tmp_path, body=b"body"):
    made = entry()
    fill = private_fill(str(tmp_path))
    fill.begin(made)
    fill.add(body)
    fill.finish()
    grown = store.adopt(fill, made.name, 60)
    fill.release()
    assert not list(tmp_path.glob("private.*"))
    return made, grown


def test_an_absent_entry_is_none(store):
    assert store.load("0" * 32) is None and store.delete("0" * 32) is None


def test_an_adopted_fill_is_loaded_whole_until_it_is_deleted(store, tmp_path):
    made, grown = adopted(store, tmp_path)
    found = store.load(made.name)
    assert (found.key, found.name, found.body, found.body_length) == (made.key, made.name, b"body", 4)
    assert store.holds(found) and grown > 0
    store.touch(found, 50.0)
    assert store.delete(made.name) == grown and store.load(made.name) is None


def test_a_refresh_replaces_the_head_of_this_entry_only(store, tmp_path):
    made, _ = adopted(store, tmp_path)
    old = store.load(made.name)
    old.headers = [("A", "2")]
    assert store.refresh(old, 60) and ("A", "2") in store.load(made.name).headers
    adopted(store, tmp_path, b"newer")
    assert not store.refresh(old, 60) and store.load(made.name).body == b"newer"


def test_an_index_is_put_and_loaded(store):
    index = VaryIndex("http://h/a", "e", [("accept",)])
    store.put(index.primary, encode(index), 60)
    assert store.load(index.primary).specs == [("accept",)]
