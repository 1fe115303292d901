"""Storages: one file per response, whole or absent, whatever happened to it; any CacheControl storage likewise."""

import logging
import os
import stat

import pytest
from cachecontrol.cache import DictCache

from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import BrokenEntry, Entry, VaryIndex
from wsgi_proxy.cache.storage.files import STATE_DIRECTORY, FileStorage
from wsgi_proxy.cache.storage.format import SUPERBLOCK, Superblock, encode
from wsgi_proxy.cache.storage.plugin import BlobStorage
from wsgi_proxy.cache.zone import ZoneCache
from wsgi_proxy.config import CacheZone

NUMBERS = Freshness(1.0, 2.0, True, False, 3.0, 4.0)


def entry(key="http://h/a", headers=(("A", "1"), ("a", "é\x00")), spec=(), selection=()):
    return Entry(key, "/a", 200, "OK", list(headers), NUMBERS, 5.0, spec, selection)


def store_entry(storage, made, body):
    storage.put(made.primary, encode(made, body), 60)
    found = storage.load(made.primary)
    assert isinstance(found, Entry)
    return found


@pytest.fixture(params=["file", "levels", "blob"])
def storage(request, tmp_path):
    if request.param == "blob":
        return BlobStorage(DictCache())
    return FileStorage(str(tmp_path / "s"), (1, 2) if request.param == "levels" else ())


@pytest.mark.parametrize("size", [0, 5, 20_000, 40_000])
def test_what_is_stored_is_found_as_it_was(storage, size):
    made, body = entry(), os.urandom(size)
    found = store_entry(storage, made, body)
    assert (found.key, found.uri, found.status, found.reason) == (made.key, "/a", 200, "OK")
    assert found.headers == [*made.headers, ("Content-Length", str(size))]
    assert (found.freshness, found.stored_at) == (NUMBERS, 5.0)
    if found.body is None:
        with open(found.path, "rb") as file:
            file.seek(found.body_offset)
            assert file.read(found.body_length) == body
    else:
        assert found.body == body


def test_an_index_is_found_as_it_was(storage):
    index = VaryIndex.fresh("k").with_spec(("a",)).with_spec(("b", "c"))
    storage.put(index.primary, encode(index), 60)
    found = storage.load(index.primary)
    assert isinstance(found, VaryIndex)
    assert (found.key, found.epoch, found.specs) == ("k", index.epoch, [("b", "c"), ("a",)])
    assert found.name_of(("a",), (None,)) != found.name_of(("a",), ("",))
    assert VaryIndex.fresh("k").name_of(("a",), ("",)) != found.name_of(("a",), ("",))


def test_what_is_absent_or_deleted_is_absent(storage):
    made = entry()
    assert storage.load(made.primary) is None
    store_entry(storage, made, b"x")
    storage.delete(made.primary)
    storage.delete(made.primary)
    assert storage.load(made.primary) is None


@pytest.mark.parametrize("size", [3, 20_000, 50_000])
def test_a_refreshed_entry_has_new_fields_and_the_old_body(storage, size):
    body = os.urandom(size)
    found = store_entry(storage, entry(), body)
    for number in range(3):
        found.headers = [("N", str(number))]
        assert storage.refresh(found, 60)
        found = storage.load(found.primary)
        assert found.headers[0] == ("N", str(number)) and found.body_length == size
        assert found.body in (None, body)


def test_an_entry_that_was_replaced_is_not_refreshed(storage):
    old = store_entry(storage, entry(), b"old")
    store_entry(storage, entry(), b"new")
    assert not storage.refresh(old, 60)
    assert storage.load(old.primary).body == b"new"


def test_many_refreshes_do_not_grow_a_file_without_end(tmp_path):
    storage = FileStorage(str(tmp_path))
    found = store_entry(storage, entry(headers=[("Long", "x" * 30_000)]), bytes(50_000))
    for _ in range(30):
        storage.refresh(found, 60)
        found = storage.load(found.primary) or store_entry(storage, entry(headers=[("Long", "x" * 30_000)]), bytes(50_000))
    assert os.stat(found.path).st_size < 400_000


def test_levels_and_modes_are_nginxs(tmp_path):
    os.umask(0)
    try:
        storage = FileStorage(str(tmp_path / "s"), (1, 2))
        found = store_entry(storage, entry(), b"x")
    finally:
        os.umask(0o022)
    name = found.primary
    assert found.path == str(tmp_path / "s" / name[-1] / name[-3:-1] / name)
    assert stat.S_IMODE(os.stat(found.path).st_mode) == 0o600
    for directory in (tmp_path / "s", tmp_path / "s" / name[-1], tmp_path / "s" / name[-1] / name[-3:-1]):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def zone_of(storage):
    return ZoneCache(CacheZone("z", storage.directory), storage, os.path.join(storage.directory, STATE_DIRECTORY))


@pytest.mark.parametrize("size", [10, 30_000, 100_000])
def test_damage_anywhere_is_a_miss_and_one_line(tmp_path, caplog, size):
    storage = FileStorage(str(tmp_path))
    zone = zone_of(storage)
    made = entry()
    whole = encode(made, os.urandom(size))
    spots = sorted({*range(0, 70, 3), *range(70, len(whole), max(1, len(whole) // 40)), len(whole) - 1})
    for spot in spots:
        damaged = bytearray(whole)
        damaged[spot] ^= 0x41
        if bytes(damaged[SUPERBLOCK - 4 : SUPERBLOCK]) != whole[SUPERBLOCK - 4 : SUPERBLOCK]:
            continue  # padding
        storage.put(made.primary, bytes(damaged), 60)
        caplog.clear()
        with caplog.at_level(logging.INFO, "wsgi_proxy"):
            assert zone.load(made.primary) is None, spot
            assert zone.load(made.primary) is None
        assert len(caplog.records) == 1
    zone.close()


def test_truncation_anywhere_removes_the_file(tmp_path):
    storage = FileStorage(str(tmp_path))
    made = entry()
    whole = encode(made, os.urandom(100_000))
    for end in (0, 1, 63, 64, 65, 200, 5_000, len(whole) - 1):
        storage.put(made.primary, whole[:end], 60)
        with pytest.raises(BrokenEntry, match=made.primary):
            storage.load(made.primary)
        assert storage.load(made.primary) is None


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04pickle", bytes(5000), b"WSGIPXY1" + bytes(500)])
def test_a_foreign_file_is_removed(tmp_path, content):
    storage = FileStorage(str(tmp_path))
    path = storage.path(entry().primary)
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(BrokenEntry):
        storage.load(entry().primary)
    assert storage.load(entry().primary) is None


def test_a_directory_in_the_way_is_a_miss_and_a_line(tmp_path, caplog):
    storage = FileStorage(str(tmp_path))
    zone = zone_of(storage)
    os.mkdir(storage.path(entry().primary))
    assert zone.load(entry().primary) is None
    assert len(caplog.records) == 1 and "cannot read" in caplog.text
    zone.close()


def test_half_written_files_are_not_found(tmp_path):
    made = entry()
    head = made.head()
    block = Superblock(1, head, SUPERBLOCK, SUPERBLOCK + len(head), -1, 0, 7)
    storage = FileStorage(str(tmp_path))
    storage.put(made.primary, block.pack() + head + b"half", 60)
    with pytest.raises(BrokenEntry, match="incomplete"):
        storage.load(made.primary)


def test_the_file_storage_is_a_cachecontrol_storage(tmp_path):
    storage = FileStorage(str(tmp_path))
    assert storage.get("http://k/ey") is None and storage.get_body("http://k/ey") is None
    storage.set("http://k/ey", b"meta")
    storage.set_body("http://k/ey", b"body")
    assert storage.get("http://k/ey") == b"meta"
    with storage.get_body("http://k/ey") as body:
        assert body.read() == b"body"
    storage.set("http://k/ey", b"new")
    assert storage.get("http://k/ey") == b"new"
    storage.delete("http://k/ey")
    storage.delete("http://k/ey")
    assert storage.get("http://k/ey") is None
