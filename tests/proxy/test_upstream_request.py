"""Requests to upstreams: the protocols that a 101 may switch to. tests/e2e has failover, hints and bodies on real servers."""

from __future__ import annotations

import pytest

from wsgi_proxy.proxy.upstream_request import _asked_for


@pytest.mark.parametrize(
    ("upgrade", "asked", "wanted"),
    [
        ("websocket", "websocket", True),
        ("WebSocket", "websocket", True),
        ("websocket", "websocket, h2c", True),
        ("h2c", "websocket", False),
        ("websocket, h2c", "websocket", False),
        ("websocket", "", False),
        ("", "websocket", False),
    ],
)
def test_a_101_switches_to_what_the_client_named(upgrade: str, asked: str, wanted: bool) -> None:
    assert _asked_for(upgrade, asked) is wanted
