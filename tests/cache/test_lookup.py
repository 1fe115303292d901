"""Lookup: the entry for a request, and the name by which its misses meet."""

import shutil

import pytest

from tests.cache.test_zone import body_of, store
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import digest_of
from wsgi_proxy.cache.zone import ZoneCache
from wsgi_proxy.config import CacheZone

NUMBERS = Freshness(0.0, 60.0)


@pytest.fixture
def zone(tmp_path):
    zone = ZoneCache.in_directory(CacheZone("z", str(tmp_path / "c"), levels=(2,)), str(tmp_path / "c"))
    yield zone
    zone.close()


@pytest.mark.parametrize("user", ["A", "B"])
def test_a_file_of_another_variant_is_not_served(zone, user):
    for each in "AB":
        store(zone, body=each.encode(), spec=("x-user",), request=[("X-User", each)])
    paths = {each: zone.find("k", [("X-User", each)])[0].path for each in "AB"}
    other = "AB".replace(user, "")
    shutil.copy(paths[other], paths[user])
    zone.memory.forget("k")
    assert body_of(zone, [("X-User", user)]) is None and body_of(zone, [("X-User", other)]) == other.encode()
    # The same under the key's own name.
    shutil.copy(paths[other], zone.store.path(digest_of("k")))
    zone.memory.forget("k")
    assert body_of(zone, [("X-User", user)]) is None and body_of(zone, [("X-User", other)]) == other.encode()


def test_who_reads_while_it_is_invalidated_does_not_keep_it(zone, tmp_path, monkeypatch):
    store(zone)
    reader = ZoneCache.in_directory(zone.settings, str(tmp_path / "c"))
    delete = zone.store.delete

    def read_then_delete(name):
        assert body_of(reader) == b"body"
        return delete(name)

    monkeypatch.setattr(zone.store, "delete", read_then_delete)
    zone.invalidate("k")
    assert body_of(reader) is None
    reader.close()


def test_variants_and_the_name_where_those_meet_who_want_one(zone):
    store(zone, body=b"1", spec=("a",), request=[("A", "1")])
    store(zone, body=b"2", spec=("a",), request=[("A", "2")])
    assert [body_of(zone, [("A", number)]) for number in "123"] == [b"1", b"2", None]
    zone.memory.forget("k")
    missing = zone.find("k", [("A", "3")])[1]
    assert missing == zone.fill_name("k", [("A", "3")], None) != zone.fill_name("k", [("A", "4")], None)
    store(zone, body=b"3", spec=("a",), request=[("A", "3")])
    assert zone.find("k", [("A", "3")])[0].fill_name == missing


def test_an_answer_that_does_not_vary_replaces_those_that_do(zone):
    store(zone, body=b"1", spec=("a",), request=[("A", "1")])
    store(zone, body=b"all")
    assert body_of(zone, [("A", "1")]) == b"all"
    store(zone, body=b"2", spec=("a",), request=[("A", "2")])
    assert [body_of(zone, [("A", number)]) for number in "12"] == [None, b"2"]


def test_a_key_with_the_same_name_is_not_the_same_key(zone, monkeypatch):
    monkeypatch.setattr("wsgi_proxy.cache.lookup.digest_of", lambda key: "0" * 32)
    monkeypatch.setattr("wsgi_proxy.cache.storage.entry.digest_of", lambda key: "0" * 32)
    store(zone, key="one")
    assert body_of(zone, key="one") == b"body" and body_of(zone, key="two") is None
