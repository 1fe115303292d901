"""A zone: committed entries are found, invalidated ones are not, and each fault is logged once."""

import logging
import os
from pathlib import Path

import pytest

from tests.support.caching import exchange
from wsgi_proxy.cache.purge import by_pattern
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.rfc9111.vary import selection_of
from wsgi_proxy.cache.storage.entry import Entry
from wsgi_proxy.cache.zone import ZoneCache
from wsgi_proxy.config import CacheZone, CoreSettings, Location
from wsgi_proxy.logs import errorlog

NUMBERS = Freshness(0.0, 60.0)


@pytest.fixture
def zone(tmp_path):
    zone = ZoneCache.in_directory(CacheZone("z", str(tmp_path / "c"), levels=(2,)), str(tmp_path / "c"))
    yield zone
    zone.close()


def store(zone, key="k", body=b"body", spec=(), request=(), purged=None):
    """Commit a response, and return True if it was stored."""
    purged = zone.purged(key) if purged is None else purged
    fill = zone.fills.private()
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
    assert not os.listdir(zone.fills.path)


def test_a_file_that_lost_its_name_is_not_stored_as_another(zone):
    fill = zone.fills.join("a" * 32)
    made = Entry("k", "/", 200, "", [], NUMBERS, 0.0)
    fill.begin(made)
    fill.add(b"mine")
    fill.finish()
    # An operator emptied the directory, and another fetch took the name.
    os.unlink(fill.path)
    other = zone.fills.join("a" * 32)
    other.begin(made)
    other.add(b"half of an")
    assert not zone.commit(made, fill, zone.purged("k")) and body_of(zone) is None
    fill.release()
    assert other.owns_path()
    other.add(b"other")
    other.finish()
    assert zone.commit(made, other, zone.purged("k")) and body_of(zone) == b"half of another"
    other.release()


def test_that_a_key_is_not_stored_is_known_to_all_processes(zone, tmp_path):
    other = ZoneCache.in_directory(CacheZone("z", str(tmp_path / "c"), levels=(2,)), str(tmp_path / "c"))
    name, moment = "ab" * 16, 1_700_000_000.5
    assert not other.fills.passes(name, moment)
    zone.fills.mark_pass(name, moment)
    assert other.fills.passes(name, moment) and other.fills.passes(name, moment + 9) and not other.fills.passes(name, moment + 10)
    assert not other.fills.passes("ac" * 16, moment)
    other.close()


def test_a_generation_that_is_over_stores_nothing(zone):
    purged = zone.purged("k")
    store(zone, body=b"old")
    entry = zone.find("k", [])[0]
    assert zone.invalidate("k") and not zone.invalidate("k")
    assert not store(zone, purged=purged) and body_of(zone) is None
    assert not zone.refresh(entry, purged) and body_of(zone) is None


def test_the_size_is_known_between_sweeps(zone):
    sizes = []
    for body in (b"x" * 1000, b"x" * 5000, b"x" * 10):
        store(zone, body=body)
        sizes.append(zone.share.size)
    block = os.statvfs(zone.store.directory).f_frsize
    assert sizes == [-(-(length + 500) // block) * block for length in (1000, 5000, 10)]
    zone.invalidate("k")
    assert zone.share.size == 0


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


def test_a_fault_is_told_once_in_each_locations_error_log(zone, tmp_path):
    logger = errorlog.logger
    before = list(logger.handlers), logger.level, logger.propagate
    paths = [str(tmp_path / name) for name in ("main.log", "own.log")]
    targets = [((path, "error"),) for path in paths]
    errorlog.setup(targets[0], places=[targets[1]])
    x = exchange("/own?a=1")
    x.location = Location(core=CoreSettings(error_log=targets[1]))
    try:
        for _ in range(3):
            zone.fault("store", OSError("full"))
            zone.fault("store", OSError("full"), x)
        main, own = (Path(path).read_text() for path in paths)
    finally:
        errorlog.setup((("stderr", "error"),))
        logger.handlers[:], logger.level, logger.propagate = before
    assert main.count("cannot store: full") == own.count("cannot store: full") == 1
    assert 'client: 127.0.0.1, server: , request: "GET /own?a=1 HTTP/1.0"' in own and "client" not in main


def test_a_store_that_cannot_be_written_stores_nothing(zone, monkeypatch, caplog):
    def failing(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zone.store, "adopt", failing)
    assert not store(zone) and body_of(zone) is None
    assert "No space left" in caplog.text and not os.listdir(zone.fills.path)


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
