"""`keepalive_time` in the http, server and location blocks, in real nginx and here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Client, free_port, run_nginx, run_proxy, wait_until


@pytest.mark.ours_alone("other workers keep connections as they like")
@pytest.mark.parametrize("level", ["http", "server", "location"])
@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_a_connection_is_closed_after_its_time(kind: str, level: str, tmp_path: Path) -> None:
    port = free_port()
    said = {name: "keepalive_time 50ms;" if name == level else "" for name in ("http", "server", "location")}
    text = f"""events {{}} http {{ access_log off; {said["http"]}
        server {{ listen 127.0.0.1:{port}; {said["server"]} location / {{ {said["location"]} return 200; }} }} }}"""
    with (run_proxy if kind == "ours" else run_nginx)(text, tmp_path), Client(port) as client:

        def closes() -> bool:
            return client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").get("connection") == "close"

        wait_until(closes, "a response that closes the connection")
