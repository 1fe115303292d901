"""A zone: what is committed is found, what is invalidated stays away, and faults are told once."""

import logging
import os
import shutil

import pytest

from wsgi_proxy.cache.purge import by_pattern
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.rfc9111.vary import selection_of
from wsgi_proxy.cache.storage.entry import Entry, digest_of
from wsgi_proxy.cache.zone import ZoneCache
from wsgi_proxy.config import CacheZone

NUMBERS = Freshness(0.0, 60.0)


@pytest.fixture
def zone(tmp_path):
    zone = ZoneCache.in_directory(CacheZone("z", str(tmp_path / "c"), levels=(2,)), str(tmp_path / "c"))
    yield zone
    zone.close()


def store(zone, key="k", body=b"body", spec=(), request=(), purged=None):
    """Commit an answer; whether it was stored."""
    purged = zone.purged(key) if purged is None else purged
    fill = zone.private_fill()
    made = Entry(key, "/", 200, "", [("A", "1")], NUMBERS, 0.0, spec, selection_of(list(request), spec), purged)
    fill.begin(made)
    fill.add(body)
    fill.finish()
    try:
        return zone.commit(made, fill, purged)
    finally:
        fill.release()


def body_of(zone, request=(), key="k"):
    entry = zone.find(key, list(request))[0]
    return None if entry is None else entry.body


def test_committed_found_dropped(zone):
    assert body_of(zone) is None
    assert store(zone) and body_of(zone) == b"body" == body_of(zone)
    zone.drop(zone.find("k", [])[0])
    assert body_of(zone) is None
    assert not os.listdir(zone.fills)


def test_a_file_that_lost_its_name_is_not_stored_as_another(zone):
    fill = zone.join("a" * 32)
    made = Entry("k", "/", 200, "", [], NUMBERS, 0.0)
    fill.begin(made)
    fill.add(b"mine")
    fill.finish()
    # An operator emptied the directory, and another fetch took the name.
    os.unlink(fill.path)
    other = zone.join("a" * 32)
    other.begin(made)
    other.add(b"half of an")
    assert not zone.commit(made, fill, zone.purged("k")) and body_of(zone) is None
    fill.release()
    assert other.owns_path()
    other.add(b"other")
    other.finish()
    assert zone.commit(made, other, zone.purged("k")) and body_of(zone) == b"half of another"
    other.release()


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


def test_that_a_key_is_not_stored_is_known_to_all_processes(zone, tmp_path):
    other = ZoneCache.in_directory(CacheZone("z", str(tmp_path / "c"), levels=(2,)), str(tmp_path / "c"))
    name, moment = "ab" * 16, 1_700_000_000.5
    assert not other.passes(name, moment)
    zone.mark_pass(name, moment)
    assert other.passes(name, moment) and other.passes(name, moment + 9) and not other.passes(name, moment + 10)
    assert not other.passes("ac" * 16, moment)
    other.close()


def test_a_generation_that_is_over_stores_nothing(zone):
    purged = zone.purged("k")
    store(zone, body=b"old")
    entry = zone.find("k", [])[0]
    assert zone.invalidate("k") and not zone.invalidate("k")
    assert not store(zone, purged=purged) and body_of(zone) is None
    assert not zone.refresh(entry, purged) and body_of(zone) is None


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


def test_the_size_is_known_between_sweeps(zone):
    sizes = []
    for body in (b"x" * 1000, b"x" * 5000, b"x" * 10):
        store(zone, body=body)
        sizes.append(zone.share.size)
    block = os.statvfs(zone.store.directory).f_frsize
    assert sizes == [-(-(length + 500) // block) * block for length in (1000, 5000, 10)]
    zone.invalidate("k")
    assert zone.share.size == 0


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
    monkeypatch.setattr("wsgi_proxy.cache.zone.digest_of", lambda key: "0" * 32)
    monkeypatch.setattr("wsgi_proxy.cache.storage.entry.digest_of", lambda key: "0" * 32)
    store(zone, key="one")
    assert body_of(zone, key="one") == b"body" and body_of(zone, key="two") is None


def test_purging_by_pattern(zone):
    for key in ("http://h/a/1", "http://h/a/2", "http://h/b", "http://h/[x]"):
        store(zone, key=key)
    under_way = zone.purged("http://h/a/3")
    assert by_pattern(zone, "http://h/a/*") == 2
    assert not store(zone, key="http://h/a/3", purged=under_way)
    assert by_pattern(zone, "http://h/[[]x]") == 1
    assert [entry.key for entry in zone.entries()] == ["http://h/b"]


def test_a_fault_is_told_once_a_minute(zone, caplog):
    with caplog.at_level(logging.INFO, "wsgi_proxy"):
        for _ in range(5):
            zone.fault("read", OSError("gone"))
            zone.fault("store", OSError("full"))
    assert len(caplog.records) == 2


def test_a_store_that_cannot_be_written_stores_nothing(zone, monkeypatch, caplog):
    def failing(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zone.store, "adopt", failing)
    assert not store(zone) and body_of(zone) is None
    assert "No space left" in caplog.text and not os.listdir(zone.fills)


def test_a_use_is_noted_seldom(zone):
    store(zone)
    entry = zone.find("k", [])[0]
    start = entry.touched_at
    zone.touch(entry, start + 1)
    assert os.stat(entry.path).st_mtime == start
    zone.touch(entry, start + 100)
    assert os.stat(entry.path).st_mtime == start + 100
    os.unlink(entry.path)
    zone.touch(entry, start + 1000)
