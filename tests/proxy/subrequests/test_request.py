"""Subrequests: the parts that they share with the client's request, and those that they omit."""

from __future__ import annotations

import io

import pytest

from tests.support.routing import environ
from wsgi_proxy.errors import ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy.subrequests.request import MAX_DEPTH, within

FIELDS = [
    ("Host", "h"), ("Range", "bytes=0-1"), ("If-None-Match", '"x"'), ("Content-Length", "5"), ("X-A", "1"),
    ("Upgrade", "websocket"), ("Connection", "upgrade, x-b"),
]  # fmt: skip


def exchange() -> Exchange:
    made = Exchange.from_environ(environ("POST", "/a?b", FIELDS, 80))
    made.variables["v"] = "1"
    return made


def test_the_clients_conditions_and_upgrade_are_left_out() -> None:
    inner = within(exchange())
    assert inner.pairs == [("Host", "h"), ("Content-Length", "5"), ("X-A", "1"), ("Connection", "upgrade, x-b")]
    assert {name for name in inner.environ if name.startswith("HTTP_")} == {"HTTP_HOST", "HTTP_X_A", "HTTP_CONNECTION"}
    assert inner.environ["HTTP_CONNECTION"] == "x-b" and "CONTENT_LENGTH" not in inner.environ
    assert (inner.method, inner.has_body, inner.subrequest, inner.internal, inner.target) == ("GET", False, True, True, "/a?b")


def test_variables_are_shared_but_in_the_background() -> None:
    outer = exchange()
    within(outer).variables["v"] = "2"
    within(outer, background=True).variables["v"] = "3"
    assert outer.variables["v"] == "2"


def test_a_cycle_ends() -> None:
    inner = exchange()
    for _ in range(MAX_DEPTH):
        inner = within(inner)
    with pytest.raises(ProxyError, match="cycle"):
        within(inner)


def test_a_check_has_the_clients_conditions() -> None:
    inner = within(exchange(), conditions=True)
    assert [name for name, _ in inner.pairs] == ["Host", "Range", "If-None-Match", "Content-Length", "X-A", "Connection"]
    assert inner.environ["HTTP_RANGE"] == "bytes=0-1" and "HTTP_UPGRADE" not in inner.environ


def test_the_clients_request_is_known_at_every_depth() -> None:
    outer = exchange()
    inner = within(within(outer))
    assert (inner.main, outer.main) == (outer, None)


def test_the_clients_body_is_left_alone() -> None:
    """Over HTTP/2 a body without a length shows only by its first byte."""
    outer = exchange()
    outer.input = io.BytesIO(b"hello")
    assert within(outer).input.read() == b""
    assert outer.input.read() == b"hello"
