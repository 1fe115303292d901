"""The file format: the state of a file, and the detection of incomplete ones."""

import os
import zlib

import pytest

from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import BrokenEntry, Entry, VaryIndex
from wsgi_proxy.cache.storage.format import COMPLETE, FILLING, SUPERBLOCK, Superblock, encode, load


def entry(status=200, headers=()):
    return Entry("k", "/", status, "", list(headers), Freshness(0.0, 60.0), 0.0)


@pytest.fixture
def file(tmp_path):
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_a_superblock_reads_back():
    made = Superblock(COMPLETE, b"head", 64, 68, 5, 99, 2**63)
    packed = made.pack()
    found = Superblock.unpack(packed)
    assert len(packed) == SUPERBLOCK
    assert all(getattr(found, name) == getattr(made, name) for name in Superblock.__slots__)


@pytest.mark.parametrize("spot", range(60))
def test_one_wrong_byte_in_it_is_told(spot):
    packed = bytearray(Superblock(COMPLETE, b"head", 64, 68, 5, 99, 7).pack())
    packed[spot] ^= 1
    with pytest.raises(BrokenEntry):
        Superblock.unpack(bytes(packed))


def test_what_is_being_written_has_a_head_but_no_whole(file):
    head = entry().head()
    os.pwrite(file, Superblock(FILLING, head, SUPERBLOCK, SUPERBLOCK + len(head), -1, 0, 7).pack() + head + b"half", 0)
    block, found = load(file, whole=False)
    assert (block.state, block.body_length, found.key, found.headers) == (FILLING, -1, "k", [])
    with pytest.raises(BrokenEntry, match="incomplete"):
        load(file)


def test_a_head_may_lie_behind_the_body(file):
    os.pwrite(file, encode(entry(), b"body"), 0)
    block, _ = load(file)
    fresh = entry(headers=[("New", "1")])
    head, end = fresh.head(), os.fstat(file).st_size
    os.pwrite(file, head, end)
    block.head_offset, block.head_length, block.head_crc = end, len(head), zlib.crc32(head)
    os.pwrite(file, block.pack(), 0)
    _, found = load(file)
    assert (found.headers[0], found.body) == (("New", "1"), b"body")


def test_a_length_is_announced_unless_there_is_none(file):
    for made, fields in (
        (entry(), [("Content-Length", "4")]),
        (entry(headers=[("content-length", "4")]), [("content-length", "4")]),
        (entry(204), []),
    ):
        os.ftruncate(file, 0)
        os.pwrite(file, encode(made, b"body" if made.status == 200 else b""), 0)
        assert load(file)[1].headers == fields


def test_an_index_is_a_file_without_body(file):
    os.pwrite(file, encode(VaryIndex("k", "e", [("a",)])), 0)
    found = load(file)[1]
    assert isinstance(found, VaryIndex) and found.specs == [("a",)]
