"""The start of a client connection: TLS and the PROXY protocol, with a real loop and real sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trustme

from tests.support.client import Client, send_raw
from tests.support.ports import wait_until
from tests.support.service import GET, echo, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_tls(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serving(echo, tls=lambda: context, keepalive_timeout=5) as server:
        with Client(server.port, tls=trusting) as client:
            body = bytes(200_000)
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + body + GET + GET)
            assert [client.read_response().body for _ in range(3)] == [body, b"", b""]
            assert client.exchange(GET).status == 200
        wait_until(lambda: not server.service.connections, "the end of the first")
        assert send_raw(server.port, b"plain text\r\n\r\n", timeout=5) == b"" or server.lines
        wait_until(lambda: not server.service.connections, "the end of the second")


def test_proxy_protocol() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = repr((environ["wsgi_proxy.connection"].proxy_protocol, environ["REMOTE_ADDR"])).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serving(app, proxy_protocol=True) as server:
        with Client(server.port) as client:
            client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + GET)
            assert client.read_response().body == b"(('192.0.2.1', 1000, '192.0.2.2', 80), '127.0.0.1')"
            assert client.exchange(GET).status == 200
        assert send_raw(server.port, GET) == b""
