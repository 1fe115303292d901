"""The sweeper: limits of age and size hold, one process sweeps at a time, and foreign files stay."""

import fcntl
import os
import tempfile

import pytest

from tests.support.caching import Site
from wsgi_proxy.cache.storage import sweep as cachesweep
from wsgi_proxy.config import CacheZone

FRESH = [("Cache-Control", "max-age=86400")]
BLOCK = os.statvfs(tempfile.gettempdir()).f_frsize
"""Bytes that a small answer takes on the disk: one block of the file system that the tests' directories are on."""


@pytest.fixture
def make(tmp_path):
    made = []

    def make(**settings):
        site = Site(tmp_path, zone=CacheZone("z", str(tmp_path / "cache"), **settings))
        made.append(site)
        return site

    yield make
    for site in made:
        site.cache.close()


def fill(site, count, size=1000):
    """``count`` entries, last used a minute apart, the last one now."""
    site.responses((200, FRESH, b"x" * size))
    store = site.cache.zones()[0].store
    for number in range(count):
        site.get(f"/{number}")
    for found in site.cache.zones()[0].entries():
        used = site.now - 60 * (count - 1 - int(found.uri[1:]))
        os.utime(store.path(found.name), (used, used))


def uris(site):
    return sorted(int(found.uri[1:]) for found in site.cache.zones()[0].entries())


@pytest.mark.parametrize("levels", [(), (1, 2)])
def test_what_was_not_used_goes(make, levels):
    site = make(inactive=300.0, levels=levels)
    fill(site, 10)
    site.cache.sweep(site.now)
    assert uris(site) == [4, 5, 6, 7, 8, 9]
    assert site.cache.zones()[0].share.entries == 6


def test_use_keeps(make):
    site = make(inactive=300.0)
    fill(site, 10)
    zone = site.cache.zones()[0]
    zone.memory.forget(site.get("/0").x.cache_key)
    assert site.get("/0").word == "HIT"
    site.cache.sweep(site.now)
    assert 0 in uris(site)


def test_the_longest_unused_go_until_the_rest_fits(make):
    """As nginx, what counts are the blocks that a file takes: of small answers fewer fit than their bytes say."""
    site = make(max_size=9 * BLOCK, inactive=86400.0)
    fill(site, 20)
    assert site.cache.zones()[0].share.size == 20 * BLOCK
    site.cache.sweep(site.now)
    kept = uris(site)
    directory = site.cache.zones()[0].store.directory
    size = sum(BLOCK for name in os.listdir(directory) if len(name) == 32)
    assert size == site.cache.zones()[0].share.size <= 9 * BLOCK and kept == list(range(20 - len(kept), 20)) and len(kept) >= 5


def test_entries_of_one_minute_go_as_far_as_needed(make):
    site = make(max_size=20 * BLOCK, inactive=86400.0)
    site.responses((200, FRESH, b"x" * 1000))
    for number in range(40):
        site.get(f"/{number}")
    site.cache.sweep(site.now)
    assert 10 <= len(uris(site)) <= 20


def test_min_free(make, monkeypatch):
    site = make(min_free=10 * BLOCK, inactive=86400.0)
    fill(site, 10)
    monkeypatch.setattr(cachesweep, "free_space", lambda directory: 6 * BLOCK)
    site.cache.sweep(site.now)
    assert len(uris(site)) == 6


def test_one_sweeps_at_a_time(make):
    site = make(inactive=300.0)
    fill(site, 10)
    path = os.path.join(site.cache.zones()[0].share.directory, "sweep")
    with open(path, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        site.cache.sweep(site.now)
        assert len(uris(site)) == 10
    site.cache.sweep(site.now)
    assert len(uris(site)) == 6


def test_nothing_is_done_before_it_is_due(make):
    site = make(inactive=300.0)
    fill(site, 3)
    zone = site.cache.zones()[0]
    assert cachesweep.sweep_zone(zone, site.now)
    assert not cachesweep.sweep_zone(zone, site.now + 1)
    assert cachesweep.sweep_zone(zone, site.now + 151)
    zone.settings = CacheZone("z", zone.settings.path, max_size=10, inactive=300.0)
    zone.share.stored(1000)
    assert cachesweep.sweep_zone(zone, site.now + 152)


def test_what_is_not_ours_stays_and_what_the_dead_left_goes(make, tmp_path):
    site = make(inactive=300.0)
    fill(site, 2)
    zone = site.cache.zones()[0]
    directory = tmp_path / "cache"
    old = site.now - 10_000
    (directory / "README").write_text("mine")
    (directory / "sub").mkdir()
    left = directory / ("a" * 32 + ".123.0011223344556677")
    left.write_text("half")
    dead = directory / ".wsgi-proxy" / "fills" / ("b" * 32)
    dead.write_text("half")
    living = zone.fills.join("c" * 32)
    for path in (directory / "README", left, dead, living.path):
        os.utime(path, (old, old))
    site.cache.sweep(site.now)
    assert (directory / "README").exists() and (directory / "sub").exists() and os.path.exists(living.path)
    assert not left.exists() and not dead.exists()
    living.release()


def test_a_name_that_a_new_fill_took_meanwhile_stays(make, tmp_path, monkeypatch):
    site = make(inactive=300.0)
    fill(site, 1)
    zone, name = site.cache.zones()[0], "b" * 32
    old = zone.fills.join(name)
    os.utime(old.path, (site.now - 10_000, site.now - 10_000))
    flock, led = fcntl.flock, []

    def meanwhile(fd, how):
        """The old fill ends and a new one begins between the sweeper's open and its lock."""
        if not led and os.path.samestat(os.fstat(fd), os.stat(old.path)):
            led.append(None)
            old.release()
            led.append(zone.fills.join(name))
        flock(fd, how)

    monkeypatch.setattr(cachesweep.fcntl, "flock", meanwhile)
    site.cache.sweep(site.now)
    assert led[1].owns_path()
    led[1].release()


def test_it_pauses_often(make):
    site = make(inactive=300.0)
    fill(site, 5)
    pauses = []
    original, cachesweep._BATCH = cachesweep._BATCH, 2
    try:
        site.cache.sweep(site.now, pauses.append)
    finally:
        cachesweep._BATCH = original
    assert len(pauses) == 2
