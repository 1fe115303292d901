"""`match` blocks and `health_check`."""

from __future__ import annotations

import re

import pytest

from tests.support.directive import faults, http, location
from wsgi_proxy.config import Match


def match(text: str) -> Match:
    return http(f"match m {{ {text} }}").matches["m"]


@pytest.mark.parametrize(
    ("written", "good", "bad"),
    [
        ("200", [200], [201]),
        ("! 500", [200], [500]),
        ("200-399 404", [200, 399, 404], [400]),
        ("! 301-303 307", [300], [302, 307]),
    ],
)
def test_status(written: str, good: list[int], bad: list[int]) -> None:
    test = match(f"status {written};").status
    assert test is not None
    assert all(test(status) for status in good) and not any(test(status) for status in bad)


@pytest.mark.parametrize(
    ("written", "holds"),
    [("X-A", True), ("! X-A", False), ("X-B", False), ("! X-B", True), ("x-a = yes", True), ("X-A = no", False),
     ("X-A != no", True), ("X-A ~ ^y", True), ("X-A !~ ^y", False), ("X-B != no", True)],
)  # fmt: skip
def test_headers(written: str, holds: bool) -> None:
    (test,) = match(f"header {written};").headers
    assert test([("Date", "x"), ("X-A", "yes")]) is holds


def test_body() -> None:
    test = match('body ~ "Welcome \\d";').body
    assert test is not None and test(b"...Welcome 1") and not test(b"Welcome")
    test = match("body !~ error;").body
    assert test is not None and test(b"fine") and not test(b"an error")


def test_faults() -> None:
    assert faults("match m { header a b; }") == ['invalid header test "a b"']
    assert faults("match m { body a; }") == ['invalid body test "a"']
    assert faults("match m { } match m { }") == ['duplicate match "m"']
    assert faults("match m { status; }") == ['invalid number of arguments in "status" directive']


def test_persistent_is_warned_of() -> None:
    def warnings(parameters: str) -> tuple[str, ...]:
        return http(f"server {{ location / {{ proxy_pass http://127.0.0.1; health_check {parameters}; }} }}").warnings

    (warning,) = warnings("mandatory persistent")
    assert warning.startswith('parameter "persistent" of "health_check" has no effect: after a reload')
    assert re.search(r" in \S+:1$", warning)
    assert warnings("mandatory") == ()


def test_health_checks() -> None:
    text = "interval=2s jitter=500ms fails=3 passes=2 uri=/h port=81 match=m mandatory persistent"
    found = location(f"proxy_pass http://127.0.0.1; health_check {text}; health_check;", "match m { status 200; }")
    one, two = found.proxy.health_checks
    assert (one.interval, one.jitter, one.fails, one.passes, one.uri, one.port, one.match) == (2.0, 0.5, 3, 2, "/h", 81, "m")
    assert (one.mandatory, one.persistent, two.mandatory, two.interval) == (True, True, False, 5.0)
