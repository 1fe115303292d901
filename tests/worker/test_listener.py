"""listener: addresses, and accepting under shortage."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.client import Client, send_raw
from tests.support.ports import wait_until
from tests.support.service import serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def told(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    connection = environ["wsgi_proxy.connection"]
    names = environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]
    start_response("200 OK", [])
    return [repr((connection.listener.name, connection.server_addr, *names)).encode()]


def test_an_ipv4_address() -> None:
    with serving(told) as server:
        local = ("127.0.0.1", server.port)
        expected = (f"127.0.0.1:{server.port}", local, "127.0.0.1", str(server.port), "127.0.0.1")
        assert repr(expected).encode() in send_raw(server.port, GET)


def test_a_unix_socket(tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    with serving(told, sock=sock):
        assert repr((f"unix:{path}", path, "localhost", "", "")).encode() in send_raw(path, GET)


def test_a_wildcard_knows_the_local_address() -> None:
    sock = socket.create_server(("0.0.0.0", 0))
    with serving(told, sock=sock) as server:
        assert b"('127.0.0.1', %d)" % server.port in send_raw(("127.0.0.1", server.port), GET)


def test_a_shortage_of_descriptors_pauses_and_passes() -> None:
    with serving(told) as server:
        listener: Any = server.listener
        real = listener._sock

        class Short:
            def _accept(self) -> None:
                listener._sock = real
                raise OSError(errno.EMFILE, "Too many open files")

        listener._sock = Short()
        with Client(server.port) as client:
            client.send(GET)
            wait_until(lambda: server.lines, "the shortage")
            assert listener.paused and "Too many open files: raise worker_rlimit_nofile" in server.lines[0]
            assert client.read_response().status == 200
