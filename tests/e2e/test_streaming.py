"""Streaming in both directions, at any size: events, uploads, both at once, rates, and bounded memory."""

from __future__ import annotations

import hashlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
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
    parse_response,
    reply,
    request_bytes,
    run_proxy,
    say_ok,
    wait_until,
)
from tests.support.peers import inside, memory, nothing_left, open_files

CONFIGURATION = """
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
        location /unbuffered/ {{ proxy_pass http://echo; proxy_buffering off; proxy_request_buffering off; }}
        location /counted/ {{ proxy_pass http://echo; proxy_request_buffering off; client_max_body_size 100m; }}
        location /old/ {{ proxy_pass http://echo; proxy_http_version 1.0; proxy_request_buffering off; }}
        location /rated/ {{ proxy_pass http://echo; limit_rate 100k; }}
        location /after/ {{ proxy_pass http://echo; limit_rate 100k; limit_rate_after 200k; }}
        location /set/ {{ set $limit_rate 100k; proxy_pass http://echo; }}
        location /taken/ {{ proxy_pass http://echo; proxy_limit_rate 100k; }}
        location /files/ {{ alias {folder}/; limit_rate 100k; }}
    }}
}}
"""

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WHERE = ["/", "/unbuffered/"]
BLOCK = bytes(range(256)) * 1024


class Place:
    """The proxy and its upstream."""

    def __init__(self, proxy: Running, upstream: Recorder) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.port = proxy.port

    def plays(self, script: Callable[[Recorded, Wire], bytes | None], *, read_body: bool = True, expect: bool = True) -> None:
        self.upstream.response = script
        self.upstream.read_body = read_body
        self.upstream.expect = expect

    def memory(self) -> int:
        return sum(memory(pid) for pid in self.proxy.children())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("streaming")
    (folder / "file").write_bytes(b"x" * 204_800)
    with Recorder() as upstream:
        text = CONFIGURATION.format(address=upstream.address, port=free_port(), folder=folder)
        with run_proxy(text, folder, env=inside(folder / "told")) as proxy:
            with nothing_left(proxy, folder / "told"):
                yield Place(proxy, upstream)
            assert "Traceback" not in proxy.log(), proxy.log()


@pytest.fixture(autouse=True)
def fresh(place: Place) -> None:
    place.upstream.requests.clear()
    place.plays(say_ok)


# --- answers as they come ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_the_head_comes_before_the_first_byte_of_the_body(place: Place, where: str, framing: str) -> None:
    go_on = threading.Event()
    line = {"chunked": b"Transfer-Encoding: chunked\r\n", "length": b"Content-Length: 5\r\n", "close": b""}[framing]

    def late(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + line + b"\r\n")
        assert go_on.wait(30)
        wire.send(chunked(b"hello") if framing == "chunked" else b"hello")
        if framing == "close":
            wire.close()

    place.plays(late)
    with Client(place.port) as client:
        client.send(request_bytes(where))
        assert b"X-A: b\r\n" in client.read_head()
        go_on.set()
        assert b"hello" in client.read_until(b"hello")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_each_event_comes_before_the_next_is_sent(place: Place, where: str, framing: str) -> None:
    taken = [threading.Event() for _ in range(20)]

    def events(request: Recorded, wire: Wire) -> None:
        wire.send(EVENTS if framing == "chunked" else EVENTS.replace(b"Transfer-Encoding: chunked\r\n", b""))
        for number, event in enumerate(taken):
            data = b"data: %d\n\n" % number
            wire.send(chunked(data)[:-5] if framing == "chunked" else data)
            assert event.wait(30)
        if framing == "chunked":
            wire.send(b"0\r\n\r\n")
        else:
            wire.close()

    place.plays(events)
    with Client(place.port) as client:
        client.send(request_bytes(where))
        for number, event in enumerate(taken):
            client.read_until(b"data: %d\n\n" % number)
            event.set()


def test_an_event_takes_milliseconds(place: Place) -> None:
    """No timer delays it: half of the events of one round come within 20 ms of their time without the proxy."""
    sent: list[float] = []

    def events(request: Recorded, wire: Wire) -> None:
        wire.send(EVENTS)
        for number in range(30):
            time.sleep(0.02)
            sent.append(time.monotonic())
            wire.send(chunked(b"data: %d\n\n" % number)[:-5])
        wire.send(b"0\r\n\r\n")

    def median(port: int) -> float:
        sent.clear()
        taken = []
        with Client(port) as client:
            client.send(request_bytes("/"))
            for number in range(30):
                client.read_until(b"data: %d\n\n" % number)
                taken.append(time.monotonic())
        return statistics.median(late - early for late, early in zip(taken, sent, strict=True))

    place.plays(events)
    # A timer delays every round, other work on the machine only some.
    assert any(median(place.port) < median(place.upstream.port) + 0.02 for _ in range(20))


@pytest.mark.parametrize(("word", "held"), [("no", False), ("yes", True)])
def test_x_accel_buffering_decides_for_its_answer(place: Place, word: str, held: bool) -> None:
    size = 10_000_000
    sent = threading.Event()

    def big(request: Recorded, wire: Wire) -> None:
        wire.send(reply(b"", headers=[("X-Accel-Buffering", word)], length=12 * size))
        for _ in range(12):
            wire.send(bytes(size))
        sent.set()

    place.plays(big)
    files = sum(open_files(pid)["unnamed"] for pid in place.proxy.children())
    with connect(place.port) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(request_bytes("/unbuffered/" if held else "/"))
        head = sock.recv(1000)
        assert b"X-Accel" not in head
        assert sent.wait(5 if held else 0.7) == held
        assert (sum(open_files(pid)["unnamed"] for pid in place.proxy.children()) > files) == held


def test_blocks_of_an_answer_are_not_held_back_to_fill_a_buffer(place: Place) -> None:
    """A slow drip of single bytes arrives as such, though it is buffered."""
    place.plays(lambda request, wire: wire.drip(reply(b"0123456789"), 0.02))
    with Client(place.port) as client:
        client.send(request_bytes("/"))
        client.read_head()
        body = client.buffer
        seen = set()
        while len(body) < 10:
            seen.add(len(body))
            body += client.sock.recv(10)
        assert body == b"0123456789" and len(seen) > 4


# --- requests as they come --------------------------------------------------------------------------------------------------


@pytest.mark.ours_alone("others wait for more of a body than has come")
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_each_piece_of_an_upload_goes_on_before_the_next_is_sent(place: Place, framing: str) -> None:
    seen = threading.Semaphore(0)

    def count(request: Recorded, wire: Wire) -> bytes:
        body = b""
        while body.count(b".") < 10:
            if framing == "chunked":
                size = int(wire.read_until(b"\r\n"), 16)
                body += wire.read_until(b"\r\n")[:size]
            else:
                body += wire.take(100)
            seen.release()
        if framing == "chunked":
            assert wire.read_until(b"\r\n\r\n") == b"0\r\n\r\n"
        return reply(body)

    place.plays(count, read_body=False)
    with Client(place.port) as client:
        fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", "20")]
        client.send(request_bytes("/unbuffered/", "POST", fields))
        for number in range(10):
            piece = b"%d." % number
            client.send(chunked(piece)[:-5] if framing == "chunked" else piece)
            assert seen.acquire(timeout=30), f"piece {number} was held back"
        if framing == "chunked":
            client.send(b"0\r\n\r\n")
        assert client.read_response("POST").body == b"0.1.2.3.4.5.6.7.8.9."


def test_a_buffered_upload_holds_no_upstream_before_it_is_whole(place: Place) -> None:
    with Client(place.port) as client:
        client.send(request_bytes("/", "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"x" * 1000)[:-5])
        time.sleep(0.2)
        assert not place.upstream.requests
        client.send(b"0\r\n\r\n")
        assert client.read_response("POST").status == 200
    assert place.upstream.requests[0].body == b"x" * 1000
    assert place.upstream.requests[0].get("Content-Length") == "1000"


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_the_framing_of_an_upload(place: Place, where: str, framing: str) -> None:
    with Client(place.port) as client:
        if framing == "chunked":
            data = request_bytes(where, "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"a" * 10, b"b" * 200_000)
        else:
            data = request_bytes(where, "POST", body=b"a" * 10 + b"b" * 200_000)
        assert client.exchange(data, "POST").status == 200
    request = place.upstream.requests[0]
    assert request.complete and request.body == b"a" * 10 + b"b" * 200_000
    if where == "/unbuffered/" and framing == "chunked":
        assert request.get("Transfer-Encoding") == "chunked" and request.get("Content-Length") is None
    else:
        assert request.get("Transfer-Encoding") is None and request.get("Content-Length") == "200010"


def test_an_upstream_of_http_10_gets_a_length(place: Place) -> None:
    with Client(place.port) as client:
        data = request_bytes("/old/", "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"hello, ", b"world")
        assert client.exchange(data, "POST").status == 200
    request = place.upstream.requests[0]
    assert (request.version, request.body, request.get("Content-Length")) == ("HTTP/1.0", b"hello, world", "12")
    assert request.get("Transfer-Encoding") is None


@pytest.mark.ours_alone("trailers")
def test_trailers_of_a_streamed_upload_go_on(place: Place) -> None:
    with Client(place.port) as client:
        body = chunked(b"hello", trailers=[("X-Sum", "9"), ("Content-Length", "7"), ("Host", "evil")])
        client.exchange(request_bytes("/unbuffered/", "POST", [("Transfer-Encoding", "chunked")]) + body, "POST")
    assert place.upstream.requests[0].trailers == [("X-Sum", "9")]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("expect", [True, False])
def test_expect_100_continue(place: Place, where: str, framing: str, expect: bool) -> None:
    """The proxy sends the client one 100 (Continue), whether the upstream sends one or not."""
    place.plays(say_ok, expect=expect)
    fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", "5")]
    with Client(place.port) as client:
        client.send(request_bytes(where, "POST", [*fields, ("Expect", "100-continue")]))
        assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(chunked(b"hello") if framing == "chunked" else b"hello")
        response = client.read_response("POST")
        assert response.status == 200 and not response.interim
        assert client.exchange(request_bytes("/next")).status == 200
    assert place.upstream.requests[0].body == b"hello" and place.upstream.requests[0].get("Expect") is None


def test_a_client_that_does_not_wait_for_its_100(place: Place) -> None:
    with Client(place.port) as client:
        response = client.exchange(request_bytes("/", "POST", [("Expect", "100-continue")], b"hello"), "POST")
        assert response.status == 200


@pytest.mark.ours_alone("others wait for more of a body than has come")
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_refusal_comes_while_the_client_still_waits(place: Place, framing: str) -> None:
    """No more of the body comes, and the response does not wait for it."""
    place.plays(lambda request, wire: wire.send(reply(b"no", 403)), read_body=False)
    with Client(place.port) as client:
        fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", "500000")]
        client.send(request_bytes("/unbuffered/", "POST", fields) + b"5\r\nhello\r\n")
        response = client.read_response("POST")
        assert (response.status, response.body) == (403, b"no")
        assert client.read_all() == b""


# --- both ways at once ------------------------------------------------------------------------------------------------------


def echo_chunks(request: Recorded, wire: Wire) -> None:
    """Answers each chunk as it comes."""
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while size := int(wire.read_until(b"\r\n"), 16):
        while len(wire.buffer) < size + 2:
            wire._more()
        data, wire.buffer = wire.buffer[:size], wire.buffer[size + 2 :]
        wire.send(chunked(data)[:-5])
    wire.read_until(b"\r\n")
    wire.send(b"0\r\n\r\n")


@pytest.mark.ours_alone("others wait for more of a body than has come")
@pytest.mark.parametrize("where", ["/unbuffered/", "/counted/"])
def test_a_conversation_in_one_request(place: Place, where: str) -> None:
    place.plays(echo_chunks, read_body=False)
    with Client(place.port) as client:
        client.send(request_bytes(where, "POST", [("Transfer-Encoding", "chunked")]))
        for number in range(20):
            client.send(chunked(b"word %d." % number)[:-5])
            client.read_until(b"word %d." % number)
        client.send(b"0\r\n\r\n")
        assert client.read_all().endswith(b"\r\n0\r\n\r\n")


@pytest.mark.ours_alone("others' bodies can only be waited for")
def test_both_ways_at_full_speed(place: Place) -> None:
    """Neither direction may wait for the other to be read: more goes each way than all buffers hold."""
    place.plays(echo_chunks, read_body=False)
    total, block = 40_000_000, bytes(range(256)) * 256
    up, down = hashlib.sha256(), hashlib.sha256()

    with connect(place.port) as sock:
        sock.settimeout(30)
        sock.sendall(request_bytes("/unbuffered/", "POST", [("Transfer-Encoding", "chunked")]))

        def send() -> None:
            sent = 0
            while sent < total:
                sock.sendall(chunked(block)[:-5])
                up.update(block)
                sent += len(block)
            sock.sendall(b"0\r\n\r\n")

        sender = threading.Thread(target=send)
        sender.start()
        raw = bytearray()
        while data := sock.recv(1 << 20):
            raw += data
        sender.join(30)
    response = parse_chunks_quickly(bytes(raw))
    down.update(response)
    assert up.digest() == down.digest()


def parse_chunks_quickly(raw: bytes) -> bytes:
    """The content of a long chunked answer, each chunk looked at once."""
    at = raw.index(b"\r\n\r\n") + 4
    parts: list[bytes] = []
    while True:
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end], 16)
        if not size:
            assert raw[end:] == b"\r\n\r\n"
            return b"".join(parts)
        parts.append(raw[end + 2 : end + 2 + size])
        at = end + 4 + size


@pytest.mark.parametrize(
    "where", ["/", pytest.param("/unbuffered/", marks=pytest.mark.ours_alone("others' bodies can only be waited for"))]
)
def test_an_upload_that_is_answered_while_it_is_read(place: Place, where: str) -> None:
    """The upstream answers each block as it takes it, and takes no more until its answer is taken."""
    body = BLOCK * 80

    def echo(request: Recorded, wire: Wire) -> None:
        wire.send(reply(b"", length=len(body)))
        left = len(body)
        while left:
            data = wire.take(65536)
            wire.send(data)
            left -= len(data)

    place.plays(echo, read_body=False)
    with connect(place.port, 30) as sock:
        sock.sendall(request_bytes(where, "POST", [("Content-Length", str(len(body)))], close=True))
        sender = threading.Thread(target=sock.sendall, args=(body,))
        sender.start()
        raw = bytearray()
        while data := sock.recv(1 << 20):
            raw += data
        sender.join(30)
    assert bytes(raw.partition(b"\r\n\r\n")[2]) == body


@pytest.mark.ours_alone("others wait for more of a body than has come")
def test_leaving_a_conversation_frees_the_upstream(place: Place) -> None:
    ended = threading.Event()

    def talk(request: Recorded, wire: Wire) -> None:
        try:
            echo_chunks(request, wire)
        finally:
            ended.set()

    for how in ("close", "reset"):
        ended.clear()
        place.plays(talk, read_body=False)
        with Client(place.port) as client:
            client.send(request_bytes("/unbuffered/", "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"hi")[:-5])
            client.read_until(b"hi")
            client.reset() if how == "reset" else client.close()
        assert ended.wait(30)


@pytest.mark.ours_alone("others wait for more of a body than has come")
def test_an_upstream_that_ends_a_conversation(place: Place) -> None:
    """The response is complete: the rest of the upload is dropped, and the client's connection ends."""

    def brief(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    place.plays(brief, read_body=False)
    with Client(place.port) as client:
        client.send(request_bytes("/unbuffered/", "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"hi")[:-5])
        response = client.read_response("POST")
        assert response.body == b"good" and response.get("Connection") == "close" and client.read_all() == b""


# --- rates ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "size", "seconds"),
    [
        ("/rated/", 300, 2),
        ("/after/", 500, 2),
        ("/after/", 250, 0),
        ("/set/", 200, 1),
        ("/taken/", 300, 2),
        ("/files/file", 200, 1),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_rates(place: Place, where: str, size: int, seconds: float, framing: str) -> None:
    body = bytes(range(256)) * 4 * size
    place.plays(lambda r, w: reply(body) if framing == "length" else EVENTS + chunked(*[body[:1000], body[1000:]]))
    began = time.monotonic()
    with Client(place.port) as client:
        client.send(request_bytes(where, close=True))
        response = parse_response(client.read_all())
    took = time.monotonic() - began
    assert response is not None and response.complete and len(response.body) == len(body)
    # Other work on the machine only makes it later.
    assert seconds - 0.15 <= took


def test_an_upstream_may_set_the_rate_of_its_answer(place: Place) -> None:
    place.plays(lambda request, wire: reply(b"x" * 200_000, headers=[("X-Accel-Limit-Rate", "100000")]))
    began = time.monotonic()
    response = fetch(place.port)
    assert len(response.body) == 200_000 and time.monotonic() - began > 0.85
    assert response.get("X-Accel-Limit-Rate") is None


def test_a_rated_answer_does_not_hold_its_upstream(place: Place) -> None:
    place.plays(lambda request, wire: reply(b"x" * 300_000))
    with Client(place.port) as client:
        client.send(request_bytes("/rated/"))
        client.read_head()
        wait_until(lambda: len(place.upstream.requests) == 1, "the request")
        time.sleep(0.5)
        place.plays(say_ok)
        assert fetch(place.port, "/other").status == 200
        client.close()


def test_streams_that_never_pause_leave_others_their_turn(place: Place) -> None:
    """Upstreams and clients that are always ready: without giving way, one of them would have the worker for itself."""
    over = threading.Event()
    flood = {"tiny": b"1\r\nx\r\n" * 100_000, "large": chunked(BLOCK)[:-5] * 4}

    def script(request: Recorded, wire: Wire) -> bytes | None:
        piece = flood.get(request.target[1:])
        if piece is None:
            return reply(b"ok")
        wire.send(EVENTS)
        while not over.is_set():
            wire.send(piece)
        wire.close()
        return None

    def pull(target: str) -> None:
        with connect(place.port, 60) as sock:
            sock.sendall(request_bytes(target))
            buffer = bytearray(1 << 20)
            while sock.recv_into(buffer):
                continue

    place.plays(script)
    threads = [threading.Thread(target=pull, args=(target,)) for target in ["/tiny", "/large"] * 3]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(place.upstream.requests) == len(threads), "the floods")
        for _ in range(6):
            assert fetch(place.port, "/other").body == b"ok"
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


# --- sizes ------------------------------------------------------------------------------------------------------------------

SIZE = 256 * 1024 * 1024
DIGEST = hashlib.sha256(BLOCK * (SIZE // len(BLOCK))).hexdigest()


def send_body(send: Callable[[bytes], None], framing: str) -> None:
    piece = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK
    for _ in range(SIZE // len(BLOCK)):
        send(piece)
    if framing == "chunked":
        send(b"0\r\n\r\n")


def take_body(sock: socket.socket, data: bytes, framing: str) -> str:
    """The digest of a body of SIZE whose first bytes are `data`; its chunks are found as it comes."""
    digest = hashlib.sha256()
    left = 0 if framing == "chunked" else SIZE
    buffer = bytearray(data)
    while True:
        if left:
            if not buffer:
                buffer += sock.recv(1 << 20)
                assert buffer, "the body ended early"
            digest.update(buffer[:left])
            taken = min(left, len(buffer))
            left -= taken
            del buffer[:taken]
            if not left and framing == "length":
                return digest.hexdigest()
            continue
        while b"\r\n" not in buffer[2:]:
            more = sock.recv(1 << 20)
            assert more, "the body ended early"
            buffer += more
        line, _, rest = bytes(buffer).lstrip(b"\r\n").partition(b"\r\n")
        left = int(line, 16)
        buffer = bytearray(rest)
        if not left:
            return digest.hexdigest()


def download(place: Place, where: str, framing: str) -> str:
    with connect(place.port, 60) as sock:
        sock.sendall(request_bytes(where + framing, close=True))
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        return take_body(sock, data.partition(b"\r\n\r\n")[2], framing)


def upload(place: Place, where: str, framing: str) -> str:
    with connect(place.port, 60) as sock:
        fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", str(SIZE))]
        sock.sendall(request_bytes(where, "POST", fields, close=True))
        send_body(sock.sendall, framing)
        raw = b""
        while data := sock.recv(65536):
            raw += data
    response = parse_response(raw)
    assert response is not None and response.complete, raw
    return response.text


def give(request: Recorded, wire: Wire) -> None:
    framing = "chunked" if request.target.endswith("chunked") else "length"
    if framing == "chunked":
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    else:
        wire.send(reply(b"", length=SIZE))
    send_body(wire.send, framing)


def take(request: Recorded, wire: Wire) -> bytes:
    framing = "chunked" if request.get("Transfer-Encoding") else "length"
    data, wire.buffer = wire.buffer, b""
    return reply(take_body(wire.sock, data, framing).encode(), headers=[("Connection", "close")])


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", ["down", "up"])
def test_four_times_256_megabytes_at_once(place: Place, where: str, framing: str, way: str) -> None:
    place.plays(give if way == "down" else take, read_body=False)
    before = place.memory()
    results: list[str] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            results.append((download if way == "down" else upload)(place, where, framing))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, place.memory())
        time.sleep(0.05)
    assert not failed, failed[0]
    assert results == [DIGEST] * 4
    assert most - before < 40_000_000
