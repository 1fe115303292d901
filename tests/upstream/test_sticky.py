"""Sessions that stay with their server: cookies, routes and learned sessions."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.limits import PrivateMemory
from wsgi_proxy.config import KeyvalZone, Sticky, StickyLearn, StickyRoute
from wsgi_proxy.keyval import Zone
from wsgi_proxy.upstream.sticky import LearnedSessions, cookie, sessions_of, set_cookie


@pytest.mark.parametrize(
    ("header", "value"),
    [("", ""), ("a=1; srv=x", "x"), ("srv=x;a=1", "x"), ("xsrv=1", ""), ("srv=", ""), ("srv=a=b", "a=b"), ("srv=1; srv=2", "1")],
)
def test_the_cookie_is_found_among_others(header: str, value: str) -> None:
    assert cookie(header, "srv") == value


def test_attributes_come_in_nginx_order() -> None:
    sticky = Sticky("srv", 3600.0, ".example.com", "/x", ("httponly", "secure", "samesite=lax"))
    assert set_cookie(sticky, "abc", 0.0, None) == (
        "srv=abc; expires=Thu, 01-Jan-70 01:00:00 GMT; max-age=3600; domain=.example.com; httponly; secure; samesite=lax; path=/x"
    )
    assert set_cookie(Sticky("srv"), "abc", 0.0, None) == "srv=abc"


def test_the_date_is_english_in_every_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "jeu., 01-janv.-70")  # as LC_TIME=fr_FR writes it
    assert "expires=Thu, 01-Jan-70 01:00:00 GMT" in set_cookie(Sticky("srv", 3600.0), "a", 0.0, None)


def test_for_ever_is_the_end_of_2037() -> None:
    forever = Sticky("srv", 10 * 365 * 86400.0)
    assert set_cookie(forever, "a", 2e9, None) == "srv=a; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"
    assert "2040" in set_cookie(Sticky("srv", 86400.0), "a", 2.21e9, None)


class Place:
    """The learned sessions of two workers, on one clock in seconds."""

    def __init__(self, header: bool = False) -> None:
        self.now = 1000.0
        variable: Any = lambda exchange: exchange.get("session", "")  # noqa: E731
        settings = StickyLearn((variable,), (variable,), "s", 65536, timeout=80.0, header=header)
        memory = PrivateMemory()
        self.workers = [LearnedSessions(settings, lambda: self.now) for _ in range(2)]
        for worker in self.workers:
            worker.table = Zone(KeyvalZone("sticky s", 65536), memory, clock=lambda: self.now, evicts=True)


def test_a_session_is_learned_for_all_workers() -> None:
    one, two = Place().workers
    assert two.wanted({"session": "a"}) == ""
    one.learn({"session": "a"}, "server 1")
    one.learn({}, "server 2")
    assert two.wanted({"session": "a"}) == "server 1"
    assert two.wanted({}) == "" and two.wanted({"session": "b"}) == ""
    two.learn({"session": "a"}, "server 2")
    assert one.wanted({"session": "a"}) == "server 2"


def test_a_session_ends_after_its_timeout_without_use() -> None:
    place = Place()
    one, two = place.workers
    one.learn({"session": "a"}, "server")
    for _ in range(20):
        place.now += 79.9
        assert two.wanted({"session": "a"}) == "server"
    place.now += 90.1
    assert two.wanted({"session": "a"}) == ""


def test_a_use_writes_at_most_once_in_an_eighth_of_the_timeout() -> None:
    place = Place()
    one, two = place.workers
    one.learn({"session": "a"}, "server")
    assert two.table is not None
    before = next(iter(two.table.entries().values())).number
    for _ in range(90):
        place.now += 0.1
        two.wanted({"session": "a"})
    assert next(iter(two.table.entries().values())).number == before
    place.now += 2
    two.wanted({"session": "a"})
    assert next(iter(two.table.entries().values())).number == before + 1


def test_a_full_zone_keeps_the_newest_sessions() -> None:
    place = Place()
    one, _ = place.workers
    for number in range(3000):
        place.now += 0.001
        one.learn({"session": str(number)}, "server")
    assert one.wanted({"session": "2999"}) == "server" and one.wanted({"session": "0"}) == ""


def test_no_session_can_be_read_in_memory() -> None:
    one, _ = Place().workers
    one.learn({"session": "secret"}, "server")
    assert one.table is not None
    assert all(b"secret" not in key for key in one.table.entries())


def test_a_route_is_the_first_variable_with_a_value() -> None:
    variables: Any = tuple(lambda exchange, name=name: exchange.get(name, "") for name in "ab")
    sessions = sessions_of(StickyRoute(variables))
    assert sessions.wanted({"a": "", "b": "two"}) == "two"
    assert sessions.wanted({"a": "one", "b": "two"}) == "one"
    assert sessions.wanted({}) == ""
    assert sessions.set_cookie("one", 0.0, {}) is None and not sessions.learns
    assert sessions_of(None) is None
