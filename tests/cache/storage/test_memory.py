"""The copies in memory: bounded in bytes, with separate variants."""

from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import Entry
from wsgi_proxy.cache.storage.memory import MemoryTier


def entry(key, body=b"x" * 1000, spec=(), selection=()):
    made = Entry(key, "/", 200, "", [("A", "1")], Freshness(0.0, 1.0), 0.0, spec, selection)
    made.body = body
    return made


def test_what_was_put_is_had():
    tier = MemoryTier(100_000)
    one = entry("k")
    tier.put("k", one, 1, 5)
    assert tier.get("k").entry is one and tier.get("k").state == 5
    tier.forget("k")
    assert tier.get("k") is None and tier.weight == 0


def test_the_bound_holds_and_the_used_stay():
    tier = MemoryTier(20_000)
    tier.put("used", entry("used"), 1, 1)
    for number in range(200):
        tier.get("used").used = True
        tier.put(f"k{number}", entry(f"k{number}"), 1, 1)
        assert tier.weight <= 20_000
    assert tier.get("used") is not None and len(tier) < 15


def test_what_is_large_for_the_bound_is_not_kept():
    tier = MemoryTier(20_000)
    tier.put("k", entry("k", b"x" * 10_000), 1, 1)
    assert tier.get("k") is None


def test_no_memory_at_all():
    tier = MemoryTier(0)
    tier.put("k", entry("k"), 1, 1)
    assert len(tier) == 0


def test_variants_of_one_generation_live_together():
    tier = MemoryTier(1_000_000)
    for number in range(40):
        tier.put("k", entry("k", spec=("a",), selection=(str(number),)), 1, 1)
    copy = tier.get("k")
    assert copy.entry is None and len(copy.variants) == 16 and ("39",) in copy.variants
    tier.put("k", entry("k", spec=("a",), selection=("new",)), 1, 2)
    assert list(tier.get("k").variants) == [("new",)]
    tier.put("k", entry("k", spec=("b",), selection=("x",)), 1, 2)
    assert list(tier.get("k").variants) == [("x",)]
    tier.put("k", entry("k"), 1, 2)
    assert tier.get("k").entry is not None and tier.get("k").variants is None


def test_weights_come_out_even():
    tier = MemoryTier(1_000_000)
    for number in range(100):
        tier.put("k", entry("k", b"x" * number, ("a",), (str(number % 20),)), 1, number % 3)
        tier.put("l", entry("l", b"x" * number), 1, number % 2)
    tier.forget("k")
    tier.forget("l")
    assert tier.weight == 0
