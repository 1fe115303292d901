"""WebSockets through the whole proxy, with the `websockets` library on both sides, under every worker that supports them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_gunicorn,
    run_nginx,
    run_proxy,
    wait_until,
)
from tests.support.tls import Files

CONFIGURATION = """
worker_processes 2;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream sockets {{ server 127.0.0.1:{sockets}; }}
    upstream plain {{ server {plain}; }}
    server {{
        listen 127.0.0.1:{port}{tls};
        location / {{
            proxy_pass {scheme}://sockets;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
        location /seed {{
            proxy_pass http://plain;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection 'upgrade';
        }}
    }}
}}
"""


ENDS = """
worker_processes 1;
events {{ }}
http {{
    log_format ends 'tunnel $status ended';
    access_log {log} ends;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""
"""A configuration whose access log gets a line when a tunnel ends."""

WORKERS = ["ProxyWorker", "gthread", "gevent"]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


def echo(connection: ServerConnection) -> None:
    """Echoes each message; `close N` closes with that code."""
    for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            connection.close(int(message[6:]), "as asked")
            return
        connection.send(message)


def refuse(connection: ServerConnection, request: Any) -> Response | None:
    return connection.respond(403, "not you\n") if request.path == "/no" else None


@contextmanager
def socket_server(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with serve(echo, "127.0.0.1", 0, process_request=refuse, ssl=context, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(30)


def port_of(server: Server) -> int:
    port: int = server.socket.getsockname()[1]
    return port


@contextmanager
def run_server(kind: str, text: str, directory: Path, graceful: int = 3) -> Iterator[Running]:
    """Real nginx, the wsgi-proxy command (ProxyWorker), or gunicorn with another class of worker."""
    if kind == "nginx":
        with run_nginx(text, directory) as server:
            yield server
        return
    if kind == "ProxyWorker":
        with run_proxy(f"worker_shutdown_timeout {graceful}s; {text}", directory) as server:
            yield server
        return
    path = directory / "nginx.conf"
    path.write_text(text)
    env = {"WSGI_PROXY_CONFIG": str(path)}
    args = ["--graceful-timeout", str(graceful), *(["--threads", "16"] if kind == "gthread" else [])]
    with run_gunicorn("wsgi_proxy:app", directory, kind, env=env, args=args) as server:
        yield server


@pytest.fixture(scope="module", params=WORKERS)
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Recorder]]:
    directory = tmp_path_factory.mktemp("websockets")
    with socket_server() as server, Recorder() as plain:
        text = CONFIGURATION.format(sockets=port_of(server), plain=plain.address, port=free_port(), tls="", scheme="http")
        with run_server(request.param, text, directory) as running:
            yield running, plain


def test_messages_of_every_kind(proxy: tuple[Running, Recorder]) -> None:
    with connect(f"ws://127.0.0.1:{proxy[0].port}/", max_size=None) as client:
        assert client.response is not None and "permessage-deflate" in client.response.headers.get("Sec-WebSocket-Extensions", "")
        for message in ("text", "ünïcode", b"\x00\xff binary", b"x" * (1 << 20), "y" * 300_000):
            client.send(message)
            assert client.recv(10) == message
        assert client.ping().wait(10)


@pytest.mark.parametrize("code", [1000, 1001, 4321])
def test_close_codes_come_through(proxy: tuple[Running, Recorder], code: int) -> None:
    with connect(f"ws://127.0.0.1:{proxy[0].port}/") as client:
        client.send(f"close {code}")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "as asked")


def test_a_refusal_is_passed_on_as_it_is(proxy: tuple[Running, Recorder]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{proxy[0].port}/no"):
        pass
    assert refused.value.response.status_code == 403 and refused.value.response.body == b"not you\n"


def test_any_protocol_and_no_byte_behind_either_head_is_lost(proxy: tuple[Running, Recorder]) -> None:
    running, plain = proxy

    def switch(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other/1\r\n\r\nfirst ")
        assert wire.read_until(b"end") == b"early bytes, more, end"
        wire.send(b"last")
        wire.close()

    plain.response = switch
    head = request_bytes("/seed", headers=[("Connection", "Upgrade"), ("Upgrade", "other/1")])
    with Client(running.port) as client:
        client.send(head + b"early bytes, ")
        answer = client.read_until(b"first ")
        assert answer.startswith(b"HTTP/1.1 101 ") and b"pgrade: other/1\r\n" in answer
        client.send(b"more, end")
        assert client.read_all() == b"last"


@pytest.fixture(scope="module", params=["nginx", *WORKERS])
def logging(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Recorder, Path]]:
    """The port of a server, its upstream, and the log that gets a line for each tunnel that has ended."""
    directory = tmp_path_factory.mktemp("ends")
    log = directory / "ends.log"
    with Recorder() as upstream:
        text = ENDS.format(upstream=upstream.address, port=free_port(), log=log)
        with run_server(request.param, text, directory) as server:
            yield server.port, upstream, log


def has_ended(log: Path) -> bool:
    return log.read_text() == "tunnel 101 ended\n"


@contextmanager
def upgraded(port: int, log: Path) -> Iterator[Client]:
    """A client whose connection is an open tunnel, and an empty log."""
    log.write_bytes(b"")
    with Client(port) as client:
        client.send(request_bytes("/", headers=[("Connection", "Upgrade"), ("Upgrade", "x")]))
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        yield client


@pytest.mark.parametrize("size", [5, 1_000_000])
def test_an_upstream_that_closes_ends_the_tunnel(logging: tuple[int, Recorder, Path], size: int) -> None:
    port, upstream, log = logging

    def close(request: Recorded, wire: Wire) -> None:
        wire.send(SWITCH + b"x" * size)
        wire.close()

    upstream.response = close
    with upgraded(port, log) as client:
        assert client.read_all() == b"x" * size
        wait_until(lambda: has_ended(log), "the tunnel to end while its client keeps its connection open")


def test_the_last_bytes_arrive_although_the_client_goes_on_sending(logging: tuple[int, Recorder, Path]) -> None:
    """Closing a socket with unread bytes resets the connection and destroys the bytes that the client has not read yet."""
    port, upstream, log = logging
    sent = threading.Event()

    def close(request: Recorded, wire: Wire) -> None:
        wire.send(SWITCH)
        wire.read_until(b"first")
        sent.wait(30)
        wire.send(b"last " * 1000)
        wire.close()

    upstream.response = close
    with upgraded(port, log) as client:
        client.send(b"first")
        client.send(b"and more, which the upstream does not read")
        sent.set()
        assert client.read_all() == b"last " * 1000
        wait_until(lambda: has_ended(log), "the tunnel to end")


def test_a_client_that_ends_its_half_ends_the_tunnel(logging: tuple[int, Recorder, Path]) -> None:
    port, upstream, log = logging
    heard: list[bytes] = []
    over = threading.Event()

    def read(request: Recorded, wire: Wire) -> None:
        wire.send(SWITCH)
        received = b""
        while data := wire.recv():
            received += data
        heard.append(received)
        # The upstream's end stays open.
        over.wait(120)

    upstream.response = read
    try:
        with upgraded(port, log) as client:
            client.send(b"x" * 100_000)
            client.half_close()
            assert client.read_all() == b""
            wait_until(lambda: has_ended(log), "the tunnel to end while its upstream keeps its connection open")
            wait_until(lambda: heard == [b"x" * 100_000], "the upstream to hear the client's end")
    finally:
        over.set()


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_ends_at_once_although_a_client_holds_a_tunnel_that_is_over(worker: str, tmp_path: Path) -> None:
    def close(request: Recorded, wire: Wire) -> None:
        wire.send(SWITCH)
        wire.close()

    with Recorder(close) as upstream:
        text = ENDS.format(upstream=upstream.address, port=free_port(), log=tmp_path / "ends.log")
        with run_server(worker, text, tmp_path, graceful=120) as server, upgraded(server.port, tmp_path / "ends.log") as client:
            assert client.read_all() == b""
            # Far below the graceful timeout, far above the time that a busy machine needs.
            server.stop(deadline=60)


def test_the_fixed_header_of_the_seed_keeps_connections(proxy: tuple[Running, Recorder]) -> None:
    running, plain = proxy
    plain.response = lambda request, wire: reply(b"ok")
    plain.requests.clear()
    for _ in range(6):
        assert fetch(running.port, "/seed").status == 200
    # One connection for each worker that answered.
    assert len({request.connection for request in plain.requests}) <= 2
    assert all(request.get("Connection") != "upgrade" for request in plain.requests)


def test_tls_on_either_side(tmp_path: Path) -> None:
    files = Files(tmp_path)
    certificate, key = files.pair("localhost")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cafile=files.ca_path)
    with socket_server(server_side) as server:
        tls = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"
        text = CONFIGURATION.format(sockets=port_of(server), plain="127.0.0.1:1", port=free_port(), tls=tls, scheme="https")
        with (
            run_proxy(text, tmp_path) as running,
            connect(f"wss://localhost:{running.port}/", ssl=client_side, max_size=None) as client,
        ):
            for message in ("text", b"x" * (1 << 20)):
                client.send(message)
                assert client.recv(10) == message


@pytest.mark.ours_alone("a thread for each socket is too much")
def test_a_thousand_sockets_are_open_while_plain_requests_go_on(tmp_path: Path) -> None:
    """Raw upgraded connections: what counts here is how many there are."""

    def switch(request: Recorded, wire: Wire) -> bytes | None:
        if request.get("Upgrade") is None:
            return reply(b"plain")
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        while data := wire.recv():
            wire.send(data)
        return None

    with Recorder(switch) as upstream, ExitStack() as stack:
        text = CONFIGURATION.format(sockets=1, plain=upstream.address, port=free_port(), tls="", scheme="http")
        running = stack.enter_context(run_proxy(text, tmp_path))
        head = request_bytes("/seed", headers=[("Connection", "Upgrade"), ("Upgrade", "x")])
        clients: list[socket.socket] = []
        for number in range(1000):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), 20))
            client.sendall(head + b"%06d" % number)
            clients.append(client)
            if number % 100 == 0:
                assert fetch(running.port, "/seed").body == b"plain"
        for number, client in enumerate(clients):
            heard = b""
            while not heard.endswith(b"%06d" % number):
                data = client.recv(4096)
                assert data, heard
                heard += data
        assert fetch(running.port, "/seed").body == b"plain"
        clients[0].sendall(b"again")
        assert clients[0].recv(100) == b"again"
