"""Whole proxies in front of FastCGI, uwsgi and SCGI servers that follow a script: behaviour that no comparison shows."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Client, fetch, free_port, request_bytes, run_proxy, wait_until
from tests.support.gateway import END, Asked, GatewayServer, stdout
from tests.support.processes import Running
from tests.support.tls import Files

BODY = b"Content-Type: text/plain\r\n\r\nbody"


@contextmanager
def proxied(folder: Path, text: str, outside: str = "") -> Iterator[Running]:
    """Run a proxy with these directives in its only location."""
    port = free_port()
    conf = f"events {{}} http {{ access_log off; {outside} server {{ listen 127.0.0.1:{port}; location / {{ {text} }} }} }}"
    with run_proxy(conf, folder) as proxy:
        yield proxy


def plain(asked: Asked, sock: socket.socket) -> bytes:
    return BODY


def test_uwsgi_over_tls(tmp_path: Path) -> None:
    files = Files(tmp_path)
    certificate, key = files.pair("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with GatewayServer("uwsgi", plain, tls=context) as server:
        trusted = f"uwsgi_ssl_verify on; uwsgi_ssl_name localhost; uwsgi_ssl_trusted_certificate {files.ca_path};"
        text = f"uwsgi_pass suwsgi://{server.address}; uwsgi_param A b; uwsgi_param CONTENT_LENGTH $content_length;"
        with proxied(tmp_path / "good", f"{text} {trusted}") as proxy:
            assert fetch(proxy.port, method="POST", body=b"x" * 70_000).body == b"body"
            assert server.asked[-1].body == b"x" * 70_000
        with proxied(tmp_path / "bad", f"{text} {trusted.replace('ssl_name localhost', 'ssl_name other.test')}") as proxy:
            assert fetch(proxy.port).status == 502
        with proxied(tmp_path / "var", f"set $where suwsgi://{server.address}; uwsgi_pass $where; {trusted}") as proxy:
            assert fetch(proxy.port).body == b"body"


@pytest.mark.parametrize("protocol", ["fastcgi", "uwsgi", "scgi"])
def test_a_status_goes_to_the_next_server(tmp_path: Path, protocol: str) -> None:
    def busy(asked: Asked, sock: socket.socket) -> bytes:
        data = b"Status: 503 Busy\r\n\r\n"
        return stdout(data) + END if protocol == "fastcgi" else data

    def good(asked: Asked, sock: socket.socket) -> bytes:
        return stdout(BODY) + END if protocol == "fastcgi" else BODY

    with GatewayServer(protocol, busy) as first, GatewayServer(protocol, good, tmp_path / "s") as second:
        outside = f"upstream u {{ server {first.address} max_fails=0; server {second.address}; }}"
        text = f"{protocol}_pass u; {protocol}_next_upstream http_503; {protocol}_param CONTENT_LENGTH $content_length;"
        with proxied(tmp_path, text.replace("scgi_param CONTENT_LENGTH $content_length;", ""), outside) as proxy:
            for _ in range(4):
                assert fetch(proxy.port, method="PUT", body=b"y" * 100_000).body == b"body"
        assert first.asked and {len(each.body) for each in first.asked + second.asked} == {100_000}


def test_a_kept_connection_that_the_server_closed_is_replaced(tmp_path: Path) -> None:
    def once(asked: Asked, sock: socket.socket) -> bytes | None:
        sock.sendall(stdout(BODY) + END)
        return None

    with GatewayServer("fastcgi", once) as server:
        outside = f"upstream u {{ server {server.address}; keepalive 4; }}"
        with proxied(tmp_path, "fastcgi_pass u; fastcgi_keep_conn on;", outside) as proxy:
            for _ in range(10):
                assert fetch(proxy.port).body == b"body"


def test_bytes_behind_the_end_close_the_connection(tmp_path: Path) -> None:
    def more(asked: Asked, sock: socket.socket) -> bytes:
        return stdout(BODY) + END + stdout(b"of another request")

    with GatewayServer("fastcgi", more) as server:
        outside = f"upstream u {{ server {server.address}; keepalive 4; }}"
        with proxied(tmp_path, "fastcgi_pass u; fastcgi_keep_conn on;", outside) as proxy:
            for _ in range(5):
                assert fetch(proxy.port).body == b"body"
        assert server.connections == 5


def test_blocks_reach_the_client_as_they_arrive(tmp_path: Path) -> None:
    seen = threading.Event()

    def slowly(asked: Asked, sock: socket.socket) -> bytes:
        sock.sendall(stdout(b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n"))
        assert seen.wait(60)
        return stdout(b"data: 2\n\n") + END

    with GatewayServer("fastcgi", slowly) as server, proxied(tmp_path, f"fastcgi_pass {server.address};") as proxy:
        with Client(proxy.port) as client:
            client.send(request_bytes("/"))
            client.read_until(b"data: 1\n\n")
            seen.set()
            client.read_until(b"data: 2\n\n")


def test_a_response_before_the_end_of_the_request(tmp_path: Path) -> None:
    """A server may refuse a body that it has not read."""

    def refuse(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(stdout(b"Status: 413 Too Large\r\n\r\nno") + END)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        accepted: list[socket.socket] = []

        def serve() -> None:
            sock, _ = listener.accept()
            accepted.append(sock)
            refuse(sock)

        threading.Thread(target=serve, daemon=True).start()
        text = f"client_max_body_size 0; fastcgi_pass {address};"
        with proxied(tmp_path, text) as proxy:
            found = fetch(proxy.port, method="POST", body=b"z" * 20_000_000)
            assert (found.status, found.body) == (413, b"no")
        for sock in accepted:
            sock.close()


def test_a_client_that_leaves_ends_the_request(tmp_path: Path) -> None:
    left = threading.Event()

    def wait(asked: Asked, sock: socket.socket) -> None:
        if not sock.recv(1):
            left.set()

    with GatewayServer("fastcgi", wait) as server, proxied(tmp_path, f"fastcgi_pass {server.address};") as proxy:
        with Client(proxy.port) as client:
            client.send(request_bytes("/"))
            wait_until(lambda: server.asked, "the request")
        assert left.wait(60)


def test_the_fields_of_a_gateway_in_front_reach_the_application(tmp_path: Path) -> None:
    def good(asked: Asked, sock: socket.socket) -> bytes:
        return stdout(BODY) + END

    with GatewayServer("fastcgi", good) as server, proxied(tmp_path, f"fastcgi_pass {server.address};") as proxy:
        fetch(proxy.port, headers=[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https"), ("X-Real-IP", "192.0.2.1")])
        asked = server.asked[0]
        assert (asked["HTTP_X_FORWARDED_FOR"], asked["HTTP_X_FORWARDED_PROTO"]) == ("192.0.2.1", "https")


def test_httpoxy(tmp_path: Path) -> None:
    def good(asked: Asked, sock: socket.socket) -> bytes:
        return stdout(BODY) + END

    with GatewayServer("fastcgi", good) as server, proxied(tmp_path, f"fastcgi_pass {server.address};") as proxy:
        fetch(proxy.port, headers=[("Proxy", "http://evil.test"), ("X-Good", "1")])
        assert "HTTP_PROXY" not in server.asked[0].names() and server.asked[0]["HTTP_X_GOOD"] == "1"
