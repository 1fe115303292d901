"""link: the connection's interface for applications, and clients that leave, with a real loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import pytest

from tests.support.client import Client
from tests.support.ports import wait_until
from tests.support.service import GET, echo, hello, serving
from wsgi_proxy.config import CoreSettings


def test_a_location_s_own_limits_hold_for_its_requests() -> None:
    short = CoreSettings(keepalive_timeout=2.0, keepalive_timeout_header=20.0)
    few, quick = CoreSettings(keepalive_requests=2), CoreSettings(client_body_timeout=0.1)
    same = CoreSettings()
    of_same: dict[Any, Any] = {}
    places: dict[str, tuple[CoreSettings, dict[Any, Any]]] = {"/short": (short, {}), "/few": (few, {}), "/quick": (quick, {})}

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        core, known = places.get(environ["PATH_INFO"], (same, of_same))
        environ["wsgi_proxy.connection"].heed(core, known)
        return echo(environ, start_response)

    def get(target: bytes) -> bytes:
        return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target

    with serving(app) as server:
        with Client(server.port) as client:
            assert client.exchange(get(b"/few")).get("Connection") == "keep-alive"
            # The settings of this request's location apply.
            assert client.exchange(get(b"/")).get("Connection") == "keep-alive"
            assert client.exchange(get(b"/few")).get("Connection") == "close"
        with Client(server.port) as client:
            response = client.exchange(get(b"/short"))
            assert (response.get("Connection"), response.get("Keep-Alive")) == ("keep-alive", "timeout=20")
            assert client.exchange(get(b"/")).get("Keep-Alive") is None
            client.exchange(get(b"/short"))
            assert client.read_all() == b""
        with Client(server.port) as client:
            client.send(b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            assert client.read_response().status == 408
        assert of_same == {server.listener: server.listener.settings}


@pytest.mark.parametrize("way", ["asks", "is told"])
def test_the_application_learns_that_the_client_has_gone(way: str) -> None:
    learnt: list[str] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = environ["wsgi_proxy.connection"]
        if way == "is told":
            connection.on_gone(lambda: learnt.append("told"))
        while not learnt:
            gevent.sleep(0.01)
            if way == "asks" and connection.client_gone():
                learnt.append("asked")
        return hello(environ, start_response)

    with serving(app) as server:
        with Client(server.port) as client:
            client.send(GET)
            wait_until(lambda: server.service.crew.busy, "the request to begin")
        wait_until(lambda: learnt and not server.service.connections, "the news")


@pytest.mark.parametrize("head", ["the server's", "the application's"])
def test_a_taken_over_connection_is_the_applications(head: str) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if head == "the server's":
            start_response("101 Switching Protocols", [("Upgrade", "echo"), ("Connection", "upgrade")])
        return tunnel(environ["wsgi_proxy.connection"])

    def tunnel(connection: Any) -> Iterable[bytes]:
        stream, early = connection.take_over()
        if head == "the application's":
            stream.sendall(b"HTTP/1.1 101 Mine\r\nConnection: upgrade\r\n\r\n")
        stream.sendall(b"<" + early + b">")
        while data := stream.recv(100):
            stream.sendall(data.upper())
        return
        yield

    with serving(app, keepalive_timeout=2.0, client_header_timeout=2.0) as server, Client(server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nearly")
        seen = client.read_head()
        assert seen.startswith(b"HTTP/1.1 101 ") and b"\r\nConnection: upgrade\r\n" in seen and b"Length" not in seen
        assert client.read_exactly(7) == b"<early>"
        # The timeouts of a request no longer apply.
        time.sleep(2.3)
        client.send(b"more")
        assert client.read_exactly(4) == b"MORE"
        client.half_close()
        assert client.read_all() == b""
        wait_until(lambda: not server.service.connections, "the end")
        assert server.lines == []


def test_abandoned_connections_leave_nothing() -> None:
    with serving(echo) as server:
        for data in (b"", b"GET / HT", GET, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"):
            for end in (Client.close, Client.reset):
                client = Client(server.port)
                client.send(data)
                end(client)
        wait_until(lambda: not server.service.connections and not server.service.crew.busy, "all of them to end")
