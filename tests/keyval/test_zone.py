"""Pairs over the workers of a machine: changes, expiry, types, full zones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.limits import PrivateMemory
from wsgi_proxy.config import KeyvalZone
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.keyval import Full, Zone


class Place:
    """The zones of several workers on one memory, with one clock (seconds)."""

    def __init__(self, workers: int = 2, evicts: bool = False, **settings: Any) -> None:
        self.now = 1000.0
        self.memory = PrivateMemory()
        self.settings = KeyvalZone("z", settings.pop("size", 8192), **settings)
        self.evicts = evicts
        self.zones = [self.worker() for _ in range(workers)]

    def worker(self) -> Zone:
        return Zone(self.settings, self.memory, clock=lambda: self.now, evicts=self.evicts)


def test_all_workers_see_a_change() -> None:
    one, two = Place().zones
    assert two.find(b"k") is None
    one.put((b"k", b"v", None))
    assert two.find(b"k") == b"v" == one.find(b"k")
    two.put((b"k", b"w", None), (b"l", b"x", None))
    assert {key: entry.value for key, entry in one.entries().items()} == {b"k": b"w", b"l": b"x"}
    one.put((b"k", None, None))
    assert two.find(b"k") is None
    two.clear()
    assert one.entries() == {}


def test_a_pair_expires() -> None:
    place = Place(timeout=10.0)
    one, two = place.zones
    one.put((b"default", b"1", None), (b"own", b"2", 1_002_000), (b"never", b"3", 0))
    place.now = 1002.0
    assert [two.find(key) for key in (b"default", b"own", b"never")] == [b"1", None, b"3"]
    place.now = 1010.0
    assert [two.find(key) for key in (b"default", b"own", b"never")] == [None, None, b"3"]
    assert list(two.entries()) == [b"never"]
    assert two.entry(b"default") is None


def test_a_shorter_key_matches_when_the_longer_has_expired() -> None:
    place = Place(kind="prefix")
    one, two = place.zones
    one.put((b"/a", b"short", 0), (b"/a/b", b"long", 1_001_000))
    assert two.find(b"/a/b/c") == b"long"
    place.now = 1002.0
    assert two.find(b"/a/b/c") == b"short"
    one.put((b"/a/b", b"again", 0))
    assert two.find(b"/a/b/c") == b"again"


def test_addresses_match_networks() -> None:
    one, two = Place(kind="ip").zones
    one.put((b"10.0.0.0/8", b"in", None))
    assert two.find(b"10.2.3.4") == b"in" and two.find(b"11.2.3.4") is None


def test_a_log_is_rewritten_when_it_is_full() -> None:
    """Many changes of few keys never fill a zone."""
    one, two = Place().zones
    for number in range(2000):
        one.put((b"key %d" % (number % 5), b"%d" % number, None))
    assert {entry.value for entry in two.entries().values()} == {b"1995", b"1996", b"1997", b"1998", b"1999"}


def test_a_full_zone_refuses_all_changes_of_a_set() -> None:
    one, two = Place().zones
    one.put((b"a", b"x" * 4000, None))
    with pytest.raises(Full):
        one.put((b"b", b"1", None), (b"c", b"x" * 5000, None))
    assert list(two.entries()) == [b"a"]
    one.put((b"a", b"small", None))
    one.put((b"c", b"x" * 5000, None))
    assert len(two.find(b"c") or b"") == 5000


def test_expired_pairs_make_room() -> None:
    place = Place()
    one, two = place.zones
    one.put((b"a", b"x" * 5000, 1_001_000))
    place.now = 1002.0
    one.put((b"b", b"x" * 5000, None))
    assert list(two.entries()) == [b"b"]


def test_an_evicting_zone_drops_the_pairs_that_expire_first() -> None:
    place = Place(evicts=True, timeout=100.0)
    one, two = place.zones
    for number in range(1000):
        place.now += 0.01
        one.put((b"%05d" % number, b"v", None))
    left = sorted(two.entries())
    assert left == [b"%05d" % number for number in range(1000 - len(left), 1000)] and len(left) > 100


def test_a_decision_under_the_lock_may_refuse() -> None:
    one, two = Place().zones
    one.put((b"k", b"v", None))

    def refuse(present: Any) -> Any:
        raise KeyError(present(b"k").value)

    with pytest.raises(KeyError, match="v"):
        two.change(refuse)
    two.put((b"l", b"w", None))
    assert one.find(b"l") == b"w"


def test_the_state_file_is_read_once_and_follows_the_changes(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"a": "1", "gone": {"value": "2", "expires": 999000}, "b": {"value": "3", "expires": 1005000}}')
    place = Place(state=str(path))
    one, two = place.zones
    assert {key: entry.value for key, entry in two.entries().items()} == {b"a": b"1", b"b": b"3"}
    one.put((b"\xff", b"odd", None))
    two.put((b"a", None, None))
    again = Place(state=str(path))
    assert {key: (entry.value, entry.expires) for key, entry in again.zones[0].entries().items()} == {
        b"b": (b"3", 1_005_000),
        b"\xff": (b"odd", 0),
    }


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", '{"a": {"value": "1", "expires": "x"}}'])
def test_a_wrong_state_file_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ConfigError, match="state file"):
        Place(state=str(tmp_path / "state.json"))


KEYS = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=1500), st.sampled_from([None, 0, 3]))),
        st.integers(0, 3),
    )
)


@given(STEPS)
def test_workers_agree_with_a_dict(steps: list[tuple[int, list[tuple[bytes, bytes | None, int | None]], int]]) -> None:
    place = Place(workers=3)
    model: dict[bytes, tuple[bytes, float]] = {}
    for worker, changes, pause in steps:
        zone = place.zones[worker]
        wanted = [(key, value, int(place.now + life) * 1000 if life else life) for key, value, life in changes]
        try:
            zone.put(*wanted)
        except Full:
            continue
        for key, value, expires in wanted:
            model.pop(key, None)
            if value is not None:
                model[key] = value, expires or float("inf")
        place.now += pause
        alive = {key: value for key, (value, expires) in model.items() if expires > place.now * 1000}
        for each in place.zones:
            assert {key: each.find(key) for key in (b"a", b"b", b"c")} == {key: alive.get(key) for key in (b"a", b"b", b"c")}
