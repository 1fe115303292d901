"""Slow, greedy and vanishing clients of the whole proxy: none holds an unused upstream connection, and none stays.

The proxy's timeouts are a second. After the module the workers hold the same objects as before it.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    chunked,
    connect,
    fetch,
    free_port,
    free_ports,
    parse_response,
    reply,
    request_bytes,
    run_proxy,
    say_ok,
    unless_late,
    wait_until,
)
from tests.support.peers import inside, memory, nothing_left, open_files

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    proxy_cache_path cache keys_zone=c:1m;
    log_format short '$request_uri $status $body_bytes_sent $upstream_status';
    access_log logs/access.log short;
    client_max_body_size 100m;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; proxy_request_buffering on; }}
        location /unbuffered/ {{ proxy_pass http://echo; proxy_buffering off; proxy_request_buffering off; }}
        location /bounded/ {{ proxy_pass http://echo; proxy_max_temp_file_size 0; }}
        location /small/ {{ proxy_pass http://echo; client_max_body_size 1000; }}
        location /cached/ {{ proxy_pass http://echo; proxy_cache c; proxy_cache_valid 200 1m; }}
        location /anyway/ {{ proxy_pass http://echo; proxy_ignore_client_abort on; }}
    }}
    server {{
        listen 127.0.0.1:{hasty};
        client_header_timeout 1s;
        client_body_timeout 1s;
        send_timeout 1s;
        keepalive_timeout 2s;
        location / {{ proxy_pass http://echo; proxy_request_buffering on; }}
        location /unbuffered/ {{ proxy_pass http://echo; proxy_buffering off; proxy_request_buffering off; }}
        location /bounded/ {{ proxy_pass http://echo; proxy_max_temp_file_size 0; }}
        location /drip/ {{ proxy_pass http://echo; client_body_timeout 3s; }}
        location /drip/unbuffered/ {{ proxy_pass http://echo; client_body_timeout 3s; proxy_request_buffering off; }}
    }}
    server {{
        listen 127.0.0.1:{secure} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        client_header_timeout 3s;
        location / {{ proxy_pass http://echo; }}
    }}
}}
"""

BIG = bytes(range(256)) * 4096 * 20
"""20 MB, more than the kernel holds between two sockets."""


class Place:
    """The proxy and its upstream."""

    def __init__(self, proxy: Running, upstream: Recorder, hasty: int, secure: int) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.port = proxy.port
        #: Where a client that pauses for a second is given up; at the other port it has a minute.
        self.hasty = hasty
        self.secure = secure

    @property
    def worker(self) -> int:
        (worker,) = self.proxy.children()
        return worker

    def plays(self, script: Callable[[Recorded, Wire], bytes | None]) -> None:
        self.upstream.response = script

    def logged(self, mark: str) -> str:
        """The line of the access log for the request with this mark in its target."""
        path = self.proxy.folder / "logs" / "access.log"

        def found() -> str:
            return next((line for line in path.read_text().splitlines() if line.split()[0].endswith(mark)), "")

        wait_until(found, f"a line for {mark} in the access log")
        return found()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    trustme = pytest.importorskip("trustme")
    folder: Path = tmp_path_factory.mktemp("clients")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    with Recorder() as upstream:
        hasty, secure = free_ports(2)
        text = CONFIGURATION.format(
            address=upstream.address,
            port=free_port(),
            hasty=hasty,
            secure=secure,
            certificate=folder / "cert.pem",
            key=folder / "key.pem",
        )
        with run_proxy(text, folder, env=inside(folder / "told")) as proxy, nothing_left(proxy, folder / "told"):
            yield Place(proxy, upstream, hasty, secure)
            assert "Traceback" not in proxy.log(), proxy.log()


@pytest.fixture(autouse=True)
def fresh(place: Place) -> Iterator[None]:
    place.upstream.requests.clear()
    place.upstream.garbage.clear()
    place.upstream.response = say_ok
    place.upstream.read_body = True
    yield
    # Whatever the client did, the next one is served at once.
    place.upstream.response = say_ok
    place.upstream.read_body = True
    assert fetch(place.port, "/after").body == b"ok"


class Held:
    """A script that sends nothing, or more and more, until it is released, and notes the end of the proxy's connection."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.begun = threading.Event()
        self.ended = threading.Event()

    def __call__(self, request: Recorded, wire: Wire) -> None:
        if self.first:
            wire.send(self.first)
        self.begun.set()
        try:
            while wire.recv():
                continue
        except ConnectionError:
            self.ended.set()
            raise
        self.ended.set()
        wire.close()


# --- slow requests ----------------------------------------------------------------------------------------------------------


def test_a_head_that_takes_too_long_is_a_408(place: Place) -> None:
    head = request_bytes("/slow", headers=[("X-Long", "x" * 100)])
    with Client(place.hasty) as client:
        sent = 0
        for byte in head:
            sent += client.sock.send(bytes([byte]))
            if select.select([client.sock], [], [], 0.05)[0]:
                break
        assert client.read_response().status == 408 and client.read_all() == b""
    assert sent < len(head), "the head could be sent to its end"
    assert not place.upstream.requests


def test_a_head_in_pieces_within_its_time(place: Place) -> None:
    with Client(place.port) as client:
        for byte in request_bytes("/pieces"):
            client.send(bytes([byte]))
        assert client.read_response().status == 200


def test_a_connection_that_says_nothing_is_closed_without_a_word(place: Place) -> None:
    with Client(place.hasty) as client:
        assert client.read_all() == b""


def test_a_kept_connection_is_closed_after_keepalive_timeout(place: Place) -> None:
    with Client(place.hasty) as client:
        assert client.exchange(request_bytes("/")).status == 200
        began = time.monotonic()
        assert client.read_all() == b""
        assert time.monotonic() - began > 1


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_stops_is_a_408(place: Place, where: str, framing: str) -> None:
    with Client(place.hasty) as client:
        fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", "100")]
        client.send(request_bytes(where + "stops", "POST", fields) + b"5\r\nhello\r\n")
        response = client.read_response("POST")
        assert response.status == 408 and response.complete and client.read_all() == b""
    if where == "/":
        assert not place.upstream.requests, "an upstream was held for a body that never came"
    else:
        wait_until(lambda: place.upstream.open_connections == 0, "the upstream's connection to end")
        assert not place.upstream.requests[0].complete


@pytest.mark.parametrize("where", ["/drip/", "/drip/unbuffered/"])
def test_a_body_that_drips_within_its_time(place: Place, where: str) -> None:
    """`client_body_timeout` is for each pause, not for the body."""
    with Client(place.hasty) as client:
        client.send(request_bytes(where, "POST", [("Content-Length", "8")]))
        for byte in b"dripping":
            time.sleep(0.5)
            client.send(bytes([byte]))
        assert client.read_response("POST").status == 200
    assert place.upstream.requests[0].body == b"dripping"


@pytest.mark.parametrize("line", [b"GET /" + b"a" * 60_000, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 8000])
def test_an_endless_head_is_refused_early(place: Place, line: bytes) -> None:
    before = memory(place.worker)
    with Client(place.port) as client:
        try:
            for _ in range(1000):
                client.send(line)
        except ConnectionError:
            pass  # refused
        try:
            raw = client.read_all()
        except ConnectionError:
            raw = client.buffer
    assert raw == b"" or raw.startswith((b"HTTP/1.1 414", b"HTTP/1.1 400"))
    assert memory(place.worker) - before < 8_000_000


def test_a_thousand_idle_connections(place: Place) -> None:
    before = memory(place.worker)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(place.port)) for _ in range(1000)]
        for client in clients[:200]:
            client.sendall(b"GET / HT")
        wait_until(lambda: open_files(place.worker)["sockets"] > 1000, "all to be accepted")
        for _ in range(20):
            assert fetch(place.port).status == 200
        assert memory(place.worker) - before < 20_000_000
    wait_until(lambda: open_files(place.worker)["sockets"] < 50, "all to be forgotten")


def test_a_client_that_never_shakes_hands(place: Place) -> None:
    with Client(place.secure) as silent, Client(place.secure) as talking:
        talking.send(b"\x16\x03\x01\x02\x00")
        assert talking.read_all() == b"" and silent.read_all() == b""


@pytest.mark.parametrize("expect", [False, True])
def test_a_body_that_is_too_large_is_not_waited_for(place: Place, expect: bool) -> None:
    fields = [("Content-Length", "100000000"), *([("Expect", "100-continue")] if expect else [])]
    with Client(place.port) as client:
        client.send(request_bytes("/small/", "POST", fields))
        if not expect:
            client.send(b"x" * 1_000_000)
        response = client.read_response("POST")
        assert response.status == 413 and not response.interim
    assert not place.upstream.requests


def test_a_chunked_body_that_grows_too_large(place: Place) -> None:
    with Client(place.port) as client:
        client.send(request_bytes("/small/", "POST", [("Transfer-Encoding", "chunked")]) + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        client.send(b"1\r\nx\r\n")
        assert client.read_response("POST").status == 413
    assert not place.upstream.requests


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("piece", [b"0x5\r\nhello\r\n", b"5\nhello\r\n", b"5\r\nhello!\r\n", b"5\r\nhello\n", b"-1\r\n"])
def test_broken_chunks_never_look_complete_to_the_upstream(place: Place, where: str, piece: bytes) -> None:
    with Client(place.port) as client:
        client.send(request_bytes(where, "POST", [("Transfer-Encoding", "chunked")]) + b"3\r\nabc\r\n")
        time.sleep(0.02)
        client.send(piece + b"0\r\n\r\n")
        assert client.read_response("POST").status == 400
    if where == "/":
        assert not place.upstream.requests
    else:
        wait_until(lambda: place.upstream.open_connections == 0, "the upstream's connection to end")
        assert not any(request.complete for request in place.upstream.requests)


# --- clients that leave -----------------------------------------------------------------------------------------------------


def leave(client: Client, how: str) -> None:
    if how == "reset":
        client.reset()
    else:
        client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_leaving_before_the_answer_frees_the_upstream(place: Place, how: str, where: str, method: str) -> None:
    held = Held()
    place.plays(held)
    target = f"{where}left-{how}-{method}"
    with Client(place.port) as client:
        client.send(request_bytes(target, method, body=b"x" * 100 if method == "POST" else b""))
        assert held.begun.wait(30)
        leave(client, how)
    assert held.ended.wait(30), "the upstream's connection was kept for a client that left"
    assert place.logged(target).split()[1] == "499"
    assert len(place.upstream.requests) == 1, "what its client gave up was tried again"


@pytest.mark.parametrize("where", ["/", "/unbuffered/", "/cached/"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_leaving_between_two_events_frees_the_upstream(place: Place, how: str, where: str) -> None:
    fields = b"Content-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    held = Held(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\ndata: 1\n\n")
    place.plays(held)
    with Client(place.port) as client:
        client.send(request_bytes(where + "events"))
        client.read_until(b"data: 1\n\n")
        leave(client, how)
    assert held.ended.wait(30)


@pytest.mark.parametrize("where", ["/", "/unbuffered/", "/bounded/"])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_leaving_in_the_midst_of_the_answer_frees_the_upstream(place: Place, where: str, how: str, framing: str) -> None:
    ended = threading.Event()

    def endless(request: Recorded, wire: Wire) -> None:
        block = b"x" * 65536
        try:
            if framing == "length":
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            else:
                wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                wire.send(block if framing == "length" else chunked(block)[:-5])
                time.sleep(0.001)
        finally:
            ended.set()

    place.plays(endless)
    with Client(place.port) as client:
        client.send(request_bytes(where))
        client.read_until(b"x" * 1000)
        leave(client, how)
    assert ended.wait(30)


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_leaving_in_the_midst_of_an_upload(place: Place, where: str, how: str) -> None:
    with Client(place.port) as client:
        client.send(request_bytes(where, "POST", [("Content-Length", "1000000")]) + b"x" * 1000)
        time.sleep(0.1)
        leave(client, how)
    if where == "/":
        time.sleep(0.1)
        assert not place.upstream.requests
    else:
        wait_until(lambda: place.upstream.open_connections == 0, "the upstream's connection to end")
        assert not place.upstream.requests[0].complete


def test_leaving_while_the_upstream_takes_nothing(place: Place) -> None:
    """An upload that fills the kernel's buffers, to an upstream that does not read it."""
    ended = threading.Event()

    def idle(request: Recorded, wire: Wire) -> None:
        # Looking for the end without reading on.
        while not ended.is_set():
            with socket.socket(fileno=os.dup(wire.sock.fileno())) as look:
                info = look.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
            if info[0] != 1:
                ended.set()
            time.sleep(0.02)
        wire.close()

    place.plays(idle)
    place.upstream.read_body = False
    with Client(place.port) as client:
        client.send(request_bytes("/", "POST", body=BIG))
        wait_until(lambda: place.upstream.requests, "the upstream to be asked")
        client.reset()
    assert ended.wait(30)


@pytest.mark.parametrize("where", ["/anyway/", "/cached/"])
def test_an_answer_that_is_wanted_anyway(place: Place, where: str) -> None:
    """By `proxy_ignore_client_abort`, or by the cache."""
    go_on, sent = threading.Event(), threading.Event()

    def late(request: Recorded, wire: Wire) -> None:
        go_on.wait(30)
        wire.send(reply(b"hello"))
        sent.set()

    place.plays(late)
    with Client(place.port) as client:
        client.send(request_bytes(where + "wanted"))
        wait_until(lambda: place.upstream.requests, "the upstream to be asked")
        client.reset()
    time.sleep(0.2)
    go_on.set()
    assert sent.wait(30)
    assert place.logged(where + "wanted").split()[3] == "200"


# --- clients that end their half --------------------------------------------------------------------------------------------


def test_a_client_that_ends_its_half_gets_its_answer(place: Place) -> None:
    def late(request: Recorded, wire: Wire) -> bytes:
        time.sleep(0.3)
        return reply(b"hello")

    def ask() -> None:
        with Client(place.port) as client:
            client.send(request_bytes("/half"))
            client.half_close()
            response = client.read_response()
            assert (response.status, response.body) == (200, b"hello") and client.read_all() == b""

    place.plays(late)
    # After a second in which nothing was sent to it, a client that ended its half counts as gone.
    unless_late(1.0, ask)


def test_a_client_that_ends_its_half_gets_a_long_answer(place: Place) -> None:
    """A client that reads is present, however slowly."""

    def long(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(12):
            wire.send(b"1\r\n%x\r\n" % number)
            time.sleep(0.2)
        wire.send(b"0\r\n\r\n")

    def ask() -> None:
        with Client(place.port) as client:
            client.send(request_bytes("/half"))
            client.half_close()
            response = client.read_response()
            assert response.complete and response.body == b"0123456789ab"

    place.plays(long)
    # Twelve pauses of 0.2 s, none of which may become one of 1 s.
    unless_late(12 * 0.2 + 0.8, ask)


def test_an_upload_that_ends_with_the_half(place: Place) -> None:
    for where in ("/", "/unbuffered/"):
        with Client(place.port) as client:
            client.send(request_bytes(where, "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"hello"))
            client.half_close()
            assert client.read_response("POST").status == 200
    assert [request.body for request in place.upstream.requests] == [b"hello", b"hello"]


# --- pipelines --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half_close", [False, True])
def test_pipelined_requests_are_answered_in_order(place: Place, half_close: bool) -> None:
    place.plays(lambda request, wire: reply(request.target.encode() + request.body))
    with Client(place.port) as client:
        data = b""
        for number in range(10):
            body = b"%d" % number if number % 3 == 1 else b""
            data += request_bytes(f"/{number}-", "POST" if body else "GET", body=body)
        client.send(data)
        if half_close:
            client.half_close()
        bodies = [client.read_response().body for _ in range(10)]
        assert bodies == [b"/%d-" % n + (b"%d" % n if n % 3 == 1 else b"") for n in range(10)]
        if half_close:
            assert client.read_all() == b""


def test_a_pipeline_behind_a_refused_request_is_dropped(place: Place) -> None:
    with Client(place.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + request_bytes("/evil"))
        raw = client.read_all()
    assert raw.count(b"HTTP/1.1 ") == 1 and raw.startswith(b"HTTP/1.1 400")
    assert not place.upstream.requests


# --- slow readers -----------------------------------------------------------------------------------------------------------


def slow_client(port: int, target: str) -> Client:
    """A client with a small window that has asked and reads nothing yet."""
    client = Client.__new__(Client)
    client.timeout, client.buffer, client.ended = 30.0, b"", False
    client.sock = socket.socket()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.sock.settimeout(30)
    client.sock.connect(("127.0.0.1", port))
    client.send(request_bytes(target, close=True))
    return client


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_slow_reader_does_not_hold_the_upstream(place: Place, framing: str) -> None:
    """`proxy_buffering on`: what does not fit into memory goes to a file, and the upstream is free."""
    sent = threading.Event()

    def big(request: Recorded, wire: Wire) -> None:
        if framing == "chunked":
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BIG))
        elif framing == "length":
            wire.send(reply(BIG))
        else:
            wire.send(reply(BIG, length=None))
            wire.close()
        sent.set()

    place.plays(big)
    before = memory(place.worker)
    with slow_client(place.port, "/slow") as client:
        client.sock.recv(1)
        assert sent.wait(30), "the upstream had to wait for a slow client"
        wait_until(lambda: open_files(place.worker)["unnamed"] > 1, "a temporary file")
        assert memory(place.worker) - before < 10_000_000
        # The upstream's connection, where it can be, already serves others.
        slow = place.upstream.requests[-1]
        others: set[int] = set()

        def serves_others() -> bool:
            """Ask for one thing more than other connections are known: all are in use then, the slow one too if it is free."""
            count = min(len(others) + 1, 8)
            together = threading.Barrier(count)

            def response(request: Recorded, wire: Wire) -> bytes:
                together.wait(30)
                return reply(b"ok")

            place.upstream.response = response
            with ThreadPoolExecutor(count) as pool:
                assert [each.body for each in pool.map(lambda _: fetch(place.port, "/other"), range(count))] == [b"ok"] * count
            others.update(request.connection for request in place.upstream.requests[-count:])
            return framing == "close" or slow.connection in others

        # The bytes take a moment to arrive.
        wait_until(serves_others, "the slow answer's connection to serve others")
        client.buffer = b"H" + client.buffer
        response = parse_response(client.read_all())
        assert response is not None and response.complete and response.body == BIG


@pytest.mark.parametrize("where", ["/unbuffered/", "/bounded/"])
def test_nothing_is_read_ahead_where_that_is_off(place: Place, where: str) -> None:
    taken = 0

    def big(request: Recorded, wire: Wire) -> None:
        nonlocal taken
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * len(BIG)))
        for _ in range(10 * len(BIG) // 65536):
            wire.send(BIG[:65536])
            taken += 65536

    place.plays(big)
    before, files = memory(place.worker), open_files(place.worker)["unnamed"]
    with slow_client(place.port, where) as client:
        client.sock.recv(1)
        time.sleep(0.5)
        # The kernel may hold some tens of megabytes between two sockets; we hold none.
        assert taken < 5 * len(BIG), "the answer was taken from the upstream"
        assert memory(place.worker) - before < 8_000_000
        assert open_files(place.worker)["unnamed"] == files


@pytest.mark.parametrize("where", ["/", "/unbuffered/", "/bounded/"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_that_reads_nothing_is_cut_after_send_timeout(place: Place, where: str, framing: str) -> None:
    ended = threading.Event()

    def big(request: Recorded, wire: Wire) -> None:
        try:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            wire.send(reply(BIG) if framing == "length" else head + chunked(BIG))
        finally:
            ended.set()

    place.plays(big)
    clients = open_files(place.worker)["sockets"]
    with slow_client(place.hasty, where):
        assert ended.wait(30)
        wait_until(lambda: open_files(place.worker)["sockets"] <= clients, "the client to be cut")


def test_a_reader_of_single_bytes_gets_everything(place: Place) -> None:
    body = bytes(range(256)) * 400
    place.plays(lambda request, wire: reply(body))
    with slow_client(place.port, "/bytes") as client:
        raw = b""
        while piece := client.sock.recv(1 if len(raw) < 2000 else 1000):
            raw += piece
        response = parse_response(raw)
        assert response is not None and response.body == body


def test_many_slow_readers_hold_no_upstream(place: Place) -> None:
    body = BIG[:1_000_000]
    place.plays(lambda request, wire: reply(body))
    before = memory(place.worker)
    with ExitStack() as stack:
        clients = [stack.enter_context(slow_client(place.port, "/many")) for _ in range(50)]
        wait_until(lambda: len(place.upstream.requests) >= 50, "all to be asked")
        most = 0
        reading = {client.sock: client for client in clients}
        while reading:
            most = max(most, memory(place.worker))
            for sock in list(reading):
                data = sock.recv(200_000)
                reading[sock].buffer += data
                if not data:
                    del reading[sock]
        assert most - before < 60_000_000
        for client in clients:
            response = parse_response(client.buffer)
            assert response is not None and response.body == body


def test_the_log_has_no_fault_of_an_upstream(place: Place) -> None:
    """Faults of clients are logged at `info`; an `error` would suggest a fault of the server."""
    faults = re.findall(r"\[(?:error|crit|alert|emerg)\].*", place.proxy.log())
    assert not [line for line in faults if "client intended to send too large" not in line]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_over_tls_that_vanishes(place: Place, how: str) -> None:
    held = Held()
    place.plays(held)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Client(place.secure, tls=context) as client:
        client.send(request_bytes("/secure"))
        assert held.begun.wait(30)
        leave(client, how)
    assert held.ended.wait(30)
