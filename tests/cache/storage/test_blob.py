"""Any CacheControl storage as a store: checked like files, and its exceptions are one kind of error."""

import pytest
from cachecontrol.cache import BaseCache

from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.blob import BlobStorage, decode_bytes
from wsgi_proxy.cache.storage.entry import BrokenEntry, Entry
from wsgi_proxy.cache.storage.format import COMPLETE, SUPERBLOCK, Superblock, encode


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
