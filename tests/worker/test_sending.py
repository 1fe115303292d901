"""Sending to clients: a client that does not read, with a real loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.support.client import Client
from tests.support.ports import wait_until
from tests.support.service import GET, serving


def test_a_client_that_does_not_read_is_cut_after_send_timeout() -> None:
    closed: list[bool] = []

    class Endless:
        def __iter__(self) -> Iterable[bytes]:
            while True:
                yield bytes(1 << 20)

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()  # type: ignore[return-value]

    with serving(app, send_timeout=0.1) as server, Client(server.port) as client:
        client.send(GET)
        wait_until(lambda: closed and not server.service.connections, "the connection to be cut")
        assert "timed out" in server.lines[0]
