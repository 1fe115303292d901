"""Requests to upstreams: the protocols that a 101 may switch to, and no cycles.

tests/e2e has failover, hints and bodies on real servers.
"""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import END, Asked, GatewayServer, stdout
from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader
from wsgi_proxy.proxy.upstream_request import _asked_for
from wsgi_proxy.wsgi import ProxyApp


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


@pytest.mark.parametrize("text", ["fastcgi_pass ADDRESS;", "early_hints 1; fastcgi_pass ADDRESS;"])
def test_a_request_leaves_nothing_for_the_collector(text: str, tmp_path: Path) -> None:
    def answer(asked: Asked, sock: socket.socket) -> bytes:
        return stdout(b"Content-Type: text/plain\r\n\r\nbody") + END

    def living() -> int:
        return sum(type(found) is Exchange for found in gc.get_objects())

    with GatewayServer("fastcgi", answer) as server:
        conf = f"events {{}} http {{ access_log off; server {{ location / {{ {text.replace('ADDRESS', server.address)} }} }} }}"
        app = ProxyApp(reader.loads(conf, path=str(tmp_path / "nginx.conf")))
        try:
            gc.collect()
            gc.disable()
            before = living()
            for _ in range(20):
                called = environ("GET", "/", [("Host", "a")], 80) | {"wsgi.early_hints": lambda pairs: None}
                body: Any = app(called, lambda status, fields, error=None: lambda data: None)
                assert b"".join(body) == b"body"
                body.close()
            del body
            assert living() <= before + 1
        finally:
            gc.enable()
            app.close()
