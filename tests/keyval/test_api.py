"""The pairs over HTTP, with NGINX Plus's methods, statuses and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.limits import PrivateMemory
from wsgi_proxy.config import KeyvalZone
from wsgi_proxy.keyval import Zone, api


@pytest.fixture
def zones() -> dict[str, Zone]:
    memory = PrivateMemory()
    settings = (KeyvalZone("one", 8192, timeout=100.0), KeyvalZone("nets", 8192, kind="ip"))
    return {zone.name: Zone(zone, memory) for zone in settings}


def ask(zones: dict[str, Zone], method: str, body: Any = None, name: str = "one", args: str = "") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    try:
        return api.perform(zones, name, method, args, data)[:2]
    except api.Problem as problem:
        return problem.status, problem.body()["error"]["code"]


def test_pairs_are_added_changed_and_removed(zones: dict[str, Zone]) -> None:
    assert ask(zones, "GET") == (200, {})
    assert ask(zones, "POST", {"a": "1", "b": {"value": "2", "expire": 30_000}}) == (201, None)
    assert ask(zones, "GET") == (200, {"a": "1", "b": "2"})
    assert ask(zones, "GET", args="key=a") == (200, {"a": "1"})
    assert ask(zones, "PATCH", {"a": "3"}) == (204, None)
    assert ask(zones, "PATCH", {"b": None}) == (204, None)
    assert ask(zones, "GET", name="") == (200, {"one": {"a": "3"}, "nets": {}})
    assert ask(zones, "DELETE") == (204, None)
    assert ask(zones, "GET") == (200, {})


def test_an_expiry_alone_keeps_the_value(zones: dict[str, Zone]) -> None:
    ask(zones, "POST", {"a": "1"})
    before = zones["one"].entries()[b"a"]
    assert ask(zones, "PATCH", {"a": {"expire": 500_000}}) == (204, None)
    after = zones["one"].entries()[b"a"]
    assert after.value == b"1" and after.expires > before.expires + 300_000


def test_a_set_with_a_fault_changes_nothing(zones: dict[str, Zone]) -> None:
    ask(zones, "POST", {"a": "1"})
    assert ask(zones, "POST", {"b": "2", "a": "3"}) == (409, "KeyvalKeyExists")
    assert ask(zones, "PATCH", {"a": "3", "b": "2"}) == (404, "KeyvalKeyNotFound")
    assert ask(zones, "POST", {"c": "3", "d": "x" * 9000}) == (507, "KeyvalNoSpace")
    assert ask(zones, "GET") == (200, {"a": "1"})


@pytest.mark.parametrize(
    ("method", "body", "found"),
    [
        ("POST", b"{", (415, "JsonError")),
        ("POST", b"\xff", (415, "JsonError")),
        ("POST", [], (400, "KeyvalFormatError")),
        ("POST", {}, (400, "KeyvalFormatError")),
        ("POST", {"a": None}, (400, "KeyvalFormatError")),
        ("POST", {"a": 1}, (400, "KeyvalFormatError")),
        ("POST", {"": "1"}, (400, "KeyvalFormatError")),
        ("POST", {"a": {"value": "1", "expire": 0}}, (400, "KeyvalFormatError")),
        ("POST", {"a": {"value": "1", "expire": True}}, (400, "KeyvalFormatError")),
        ("POST", {"a": {"expire": 5}}, (400, "KeyvalFormatError")),
        ("PUT", {"a": "1"}, (405, "MethodDisabled")),
    ],
)
def test_wrong_requests(zones: dict[str, Zone], method: str, body: Any, found: tuple[int, str]) -> None:
    assert ask(zones, method, body) == found


def test_names_and_keys(zones: dict[str, Zone]) -> None:
    assert ask(zones, "GET", name="none") == (404, "KeyvalNotFound")
    assert ask(zones, "DELETE", name="") == (405, "MethodDisabled")
    assert ask(zones, "GET", args="key=none") == (404, "KeyvalKeyNotFound")
    assert ask(zones, "POST", {"10.0.0.0/8": "1"}, "nets") == (201, None)
    assert ask(zones, "POST", {"text": "1"}, "nets") == (400, "KeyvalFormatError")
    ask(zones, "POST", {"é &": "1"})
    assert ask(zones, "GET", args="x=1&key=%C3%A9%20%26") == (200, {"é &": "1"})


def test_the_zone_in_a_path() -> None:
    assert api.zone_in("/api/9/http/keyvals/one") == "one" == api.zone_in("/status/http/keyvals/one/")
    assert api.zone_in("/api/9/http/keyvals") == "" == api.zone_in("/api/9/http/keyvals/")
    assert api.zone_in("/api/9/http") is None and api.zone_in("/http/keyvals/one/two") is None


def test_keys_in_the_log_are_short_and_printable(zones: dict[str, Zone]) -> None:
    body = json.dumps({"a\n" + "x" * 400: "1"}).encode()
    line = api.perform(zones, "one", "POST", "", body)[2]
    assert "\n" not in line and len(line) < 300
