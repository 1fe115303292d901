"""Bodies over TLS arrive as they were sent: uploads and responses, at any pace, and beside clients that end early."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    chunked,
    connect,
    free_port,
    parse_response,
    reply,
    request_bytes,
    run_proxy,
    wait_until,
)
from tests.support.tls import Files

BLOCK = os.urandom(5_000_000)
SIZES = [1, 16_384, 65_537, 700_000, 2_000_000]
PLACES = ["/plain", "/tls", "/direct"]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Upstream:
    """A script: `/…/up` gives the SHA-256 of the request's body, `/…/down/SIZE/PAUSE/FRAMING` that many bytes of BLOCK."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self.whole: list[int] = []
        """The lengths of the bodies that came to their end."""
        self.ended: list[bool] = []
        """For each request that was held: whether the proxy ended its connection."""

    def __call__(self, request: Recorded, wire: Wire) -> bytes | None:
        parts = request.target.split("/")[2:]
        if parts[0] == "hold":
            self.held.set()
            wire.sock.settimeout(30)
            try:
                self.ended.append(wire.recv() == b"")
            except OSError:
                self.ended.append(True)
            wire.close()
            return None
        if parts[0] == "up":
            body = wire.read_body(request)
            self.whole.append(len(body))
            return reply(sha(body).encode())
        wire.read_body(request)
        body, pause, framing = BLOCK[: int(parts[1])], float(parts[2]), parts[3]
        half = len(body) // 2
        if framing == "chunked":
            wire.send(reply(headers=[("Transfer-Encoding", "chunked")], length=None) + chunked(body[:half])[:-5])
        elif framing == "length":
            wire.send(reply(body[:half], length=len(body)))
        else:
            wire.send(reply(body[:half], length=None))
        time.sleep(pause)
        if framing == "cut":
            wire.reset()
            return None
        wire.send(chunked(body[half:]) if framing == "chunked" else body[half:])
        if framing == "close":
            wire.close()
        return None


class Place:
    """The proxy, its TLS port, and its upstream."""

    def __init__(self, port: int, files: Files, upstream: Upstream, server: Running) -> None:
        self.port = port
        self.files = files
        self.upstream = upstream
        self.server = server

    def client(self, timeout: float = 30.0) -> Client:
        return Client(self.port, timeout, tls=self.files.client(), server_hostname="localhost")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("bodies")
    files = Files(folder)
    certificate, key = files.pair("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = free_port()
    upstream = Upstream()
    with Recorder(upstream, read_body=False) as plain, Recorder(upstream, read_body=False, tls=context) as secure:
        conf = f"""
            worker_processes 1; error_log stderr info; events {{}}
            http {{ access_log off; client_max_body_size 0;
              server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
                location /plain {{ proxy_pass http://{plain.address}; }}
                location /tls {{ proxy_pass https://{secure.address}; }}
                location /direct {{ proxy_pass https://{secure.address}; proxy_http_version 1.1;
                                    proxy_request_buffering off; proxy_buffering off; }}
            }} }}"""
        with run_proxy(conf, folder) as server:
            yield Place(port, files, upstream, server)
            assert "Traceback" not in server.log()


def upload(client: Client, where: str, body: bytes, pause: float, framing: str) -> None:
    """Send a POST in two halves with a pause between them."""
    half = len(body) // 2
    if framing == "chunked":
        head = request_bytes(f"{where}/up", "POST", [("Transfer-Encoding", "chunked")])
        client.send(head + chunked(body[:half])[:-5])
        time.sleep(pause)
        client.send(chunked(body[half:]))
    else:
        client.send(request_bytes(f"{where}/up", "POST", [("Content-Length", str(len(body)))]) + body[:half])
        time.sleep(pause)
        client.send(body[half:])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("pause", [0.0, 0.15])
@pytest.mark.parametrize("where", PLACES)
def test_uploads_arrive(place: Place, where: str, pause: float, framing: str) -> None:
    with place.client() as client:
        for size in SIZES:
            body = BLOCK[:size]
            upload(client, where, body, pause, framing)
            assert client.read_response().text == sha(body), f"{size} bytes, {where}, pause {pause}"


@pytest.mark.parametrize("where", PLACES)
def test_fast_uploads_on_fresh_connections_arrive(place: Place, where: str) -> None:
    for size in (500_000, 700_000, 1_000_000, 2_000_000, 5_000_000) * 3:
        body = BLOCK[:size]
        with place.client() as client:
            assert client.exchange(request_bytes(f"{where}/up", "POST", body=body)).text == sha(body)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("pause", [0.0, 0.15])
@pytest.mark.parametrize("where", PLACES)
def test_answers_arrive(place: Place, where: str, pause: float, framing: str) -> None:
    with place.client() as client:
        for size in SIZES[:-1]:
            response = client.exchange(request_bytes(f"{where}/down/{size}/{pause}/{framing}"))
            assert sha(response.body) == sha(BLOCK[:size]) and response.complete


def test_a_client_that_reads_late_gets_all(place: Place) -> None:
    with place.client() as client:
        for where in PLACES:
            client.send(request_bytes(f"{where}/down/2000000/0/length"))
            time.sleep(0.3)
            assert sha(client.read_response().body) == sha(BLOCK[:2_000_000])


def test_both_directions_at_once(place: Place) -> None:
    """Several clients at once, so that the loop has others to serve while a reader has given way."""

    def run(number: int, found: list[bool]) -> None:
        where = PLACES[number % len(PLACES)]
        body = BLOCK[number : number + 2_000_000]
        with place.client() as client:
            up = client.exchange(request_bytes(f"{where}/up", "POST", body=body)).text == sha(body)
            down = sha(client.exchange(request_bytes(f"{where}/down/700000/0/chunked")).body) == sha(BLOCK[:700_000])
            found.append(up and down)

    found: list[bool] = []
    threads = [threading.Thread(target=run, args=(number, found)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 6


def exchange_all(client: Client, requests: bytes, count: int) -> list[str]:
    """Send all requests while the responses are read, in one thread, and return the texts of `count` responses.

    Two threads may not use one SSLSocket at a time before Python 3.13: the client crashes, or its connection ends.
    """
    client.sock.setblocking(False)
    end = time.monotonic() + client.timeout
    rest, received, texts = memoryview(requests), b"", list[str]()
    while len(texts) < count:
        assert time.monotonic() < end, f"{len(texts)} responses, {len(rest)} bytes not sent"
        try:
            rest = rest[client.sock.send(rest[:16384]) :] if rest else rest
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            data = client.sock.recv(65536)
            assert data, f"the end after {len(texts)} responses, {len(rest)} bytes not sent"
            received += data
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            select.select([client.sock], [client.sock] if rest else [], [], 0.1)
        while received and (response := parse_response(received, ended=False)) is not None and response.complete:
            texts.append(response.text)
            received = received.partition(b"\r\n\r\n")[2][len(response.body) :]
    return texts


@pytest.mark.parametrize("where", PLACES)
def test_pipelined_uploads(place: Place, where: str) -> None:
    bodies = [BLOCK[:700_000], b"small", BLOCK[:100_000], b"", BLOCK[7:300_007]]
    requests = [request_bytes(f"{where}/up", "POST", [("Content-Length", str(len(body)))]) + body for body in bodies]
    with place.client() as client:
        assert exchange_all(client, b"".join(requests), len(bodies)) == [sha(body) for body in bodies]


def half_closing(place: Place) -> Any:
    """A TLS client that can end its half and read on; Python's SSLSocket cannot."""
    from OpenSSL import SSL

    sock = connect(place.port)
    sock.settimeout(None)
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), sock)
    client.set_connect_state()
    client.do_handshake()
    return client


def read_to_the_end(client: Any) -> tuple[bytes, bool]:
    """Everything the server sends, and whether it said that this is the end (close_notify)."""
    from OpenSSL import SSL

    data = bytearray()
    while True:
        try:
            data += client.recv(65536)
        except SSL.ZeroReturnError:
            return bytes(data), True
        except (SSL.SysCallError, SSL.Error):
            return bytes(data), False


@pytest.mark.parametrize("transport_too", [False, True])
@pytest.mark.parametrize("where", PLACES)
def test_a_client_that_ends_its_half_gets_its_answer(place: Place, where: str, transport_too: bool) -> None:
    body = BLOCK[:1_000_000]
    for request, expected in (
        (request_bytes(f"{where}/up", "POST", body=body), sha(body).encode()),
        (request_bytes(f"{where}/down/700000/0.3/length"), BLOCK[:700_000]),
    ):
        client = half_closing(place)
        client.sendall(request)
        client.shutdown()
        if transport_too:
            client.sock_shutdown(socket.SHUT_WR)
        data, ended = read_to_the_end(client)
        assert data.endswith(expected) and ended
        client.close()


@pytest.mark.parametrize("where", PLACES)
def test_a_client_that_leaves_while_it_waits(place: Place, where: str) -> None:
    upstream = place.upstream
    for parting in ("close", "reset"):
        upstream.held.clear()
        upstream.ended.clear()
        client = place.client()
        # It has sent a body, fast. Bytes read earlier must not hide the end of the connection.
        client.send(request_bytes(f"{where}/hold", "POST", body=BLOCK[:2_000_000]))
        assert upstream.held.wait(30)
        getattr(client, parting)()
        wait_until(lambda: upstream.ended, "the upstream's connection to end")
    with place.client() as client:
        assert client.exchange(request_bytes(f"{where}/up", "POST", body=b"x")).status == 200


@pytest.mark.parametrize("where", PLACES)
def test_a_client_that_leaves_in_its_upload(place: Place, where: str) -> None:
    """Its part of a body is never taken for the whole, and others are served."""
    for parting in ("close", "reset"):
        client = place.client()
        client.send(request_bytes(f"{where}/up", "POST", [("Content-Length", "2000003")]) + BLOCK[:1_000_000])
        getattr(client, parting)()
    with place.client() as client:
        body = BLOCK[:1_000_000]
        assert client.exchange(request_bytes(f"{where}/up", "POST", body=body)).text == sha(body)
    assert 2_000_003 not in place.upstream.whole


def test_a_cut_answer_has_no_close_notify(place: Place) -> None:
    """If the connection's end is the body's end, only TLS shows a truncation."""
    for framing, whole in (("close", True), ("cut", False)):
        client = half_closing(place)
        client.sendall(f"GET /direct/down/100000/0.3/{framing} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        data, ended = read_to_the_end(client)
        assert ended == whole and data.endswith(BLOCK[:100_000] if whole else BLOCK[:50_000])
        client.close()
