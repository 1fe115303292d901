"""Entries and indexes: their heads read back, and names cannot be guessed across an invalidation."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import BrokenEntry, Entry, VaryIndex, digest_of

texts = st.text(st.characters(max_codepoint=255), max_size=20)


@settings(deadline=None)
@given(texts, texts, st.lists(st.tuples(texts, texts)), st.floats(0, 1e9), st.booleans(), st.lists(texts))
def test_a_head_reads_back(key, uri, headers, number, flag, values):
    spec, selection = tuple(values), tuple(values) + (None,)
    made = Entry(key, uri, 299, "", headers, Freshness(number, number, flag, not flag, 1.0, 2.0), number, spec, selection, 7)
    found = Entry.of_head(json.loads(made.head()))
    for name in (
        "key",
        "uri",
        "status",
        "reason",
        "headers",
        "freshness",
        "stored_at",
        "checked_at",
        "spec",
        "selection",
        "purged",
    ):
        assert getattr(found, name) == getattr(made, name)


def test_names_are_nginxs():
    # md5 of the key, as an administrator of nginx computes it to find a file.
    assert digest_of("http://h/a") == "2ce7276502725c281e6d5ae4e55aed55"
    assert digest_of("\u20ac") != digest_of("?")


@pytest.mark.parametrize("missing", ["key", "status", "headers", "freshness", "stored", "spec", "purged"])
def test_a_head_with_a_gap_is_broken(missing):
    head = json.loads(Entry("k", "/", 200, "", [], Freshness(0.0, 1.0), 0.0).head())
    del head[missing]
    with pytest.raises(BrokenEntry):
        Entry.of_head(head)


def test_an_index_keeps_the_newest_specs():
    index = VaryIndex.fresh("k")
    for name in "abcdefa":
        index = index.with_spec((name,))
    assert index.specs == [("a",), ("f",), ("e",), ("d",)]
    assert VaryIndex.of_head(json.loads(index.head())).name_of(("a",), ("1",)) == index.name_of(("a",), ("1",))
    assert VaryIndex.fresh("k").name_of(("a",), ("1",)) != index.name_of(("a",), ("1",))


def test_weight_counts_fields_and_body():
    made = Entry("k", "/", 200, "", [("A", "x" * 1000)], Freshness(0.0, 1.0), 0.0)
    light = made.weight()
    made.body = b"x" * 5000
    assert made.weight() == light + 5000 > 6000
