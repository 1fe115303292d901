"""Common faults of Python proxies: bytes sent, bytes at the upstream, bytes received, under every kind of worker.

The proxy runs once for each worker class; the recording upstream answers what each test scripts.
"""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    chunked,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_gunicorn,
    run_proxy,
    say_ok,
    wait_until,
)

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_max_body_size 0;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://echo;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection 'upgrade';
            proxy_set_header Host $host;
            proxy_request_buffering {buffering};
        }}
        location /impatient {{ proxy_pass http://echo; proxy_read_timeout 1s; }}
        location /rewritten/ {{ proxy_pass http://echo/base/; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module", params=["ProxyWorker", "streaming", "gthread", "gevent", "sync"])
def proxy(request: pytest.FixtureRequest, upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    buffering = "off" if request.param == "streaming" else "on"
    text = CONFIGURATION.format(address=upstream.address, port=free_port(), buffering=buffering)
    if request.param in ("ProxyWorker", "streaming"):
        if os.environ.get("WORKER_CLASS"):
            pytest.skip("other workers have a turn of their own")
        with run_proxy(text, folder) as server:
            yield server
        return
    path = folder / "nginx.conf"
    path.write_text(text)
    args = ["--threads", "8"] if request.param == "gthread" else []
    with run_gunicorn("wsgi_proxy:app", folder, request.param, env={"WSGI_PROXY_CONFIG": str(path)}, args=args) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(upstream: Recorder) -> None:
    upstream.requests.clear()
    upstream.response = say_ok
    upstream.read_body = True


def last(upstream: Recorder) -> Recorded:
    return upstream.requests[-1]


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_a_chunked_upload_arrives_whole_and_framed_once(proxy: Running, upstream: Recorder, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    pieces = [body[i : i + 70_001] for i in range(0, size, 70_001)]
    with Client(proxy.port) as client:
        data = request_bytes("/", "POST", [("Transfer-Encoding", "chunked")]) + chunked(*pieces)
        assert client.exchange(data, "POST").status == 200
    seen = last(upstream)
    assert seen.complete and seen.body == body
    framings = [name.lower() for name, _ in seen.headers if name.lower() in ("content-length", "transfer-encoding")]
    assert len(framings) == 1


@pytest.mark.parametrize("target", ["/%C3%A9/a%2Fb", "//a/../b;x", "/?x&y=", "/a?b?c=%zz&d", "/%7Ea/.", "/a+b'()*!"])
def test_targets_reach_the_upstream_untouched(proxy: Running, upstream: Recorder, target: str) -> None:
    assert fetch(proxy.port, target).status == 200
    assert last(upstream).target == target


def test_bytes_beyond_ascii_in_a_target(proxy: Running, upstream: Recorder, request: pytest.FixtureRequest) -> None:
    """ProxyWorker takes them as nginx does; gunicorn's own parser refuses them (RFC 3986 wants them escaped)."""
    target = "/é/a%2Fb".encode().decode("latin-1")
    status = fetch(proxy.port, target).status
    if request.node.callspec.params["proxy"] in ("ProxyWorker", "streaming"):
        assert status == 200 and last(upstream).target == target
    else:
        assert status == 400 and not upstream.requests


def test_the_configuration_may_rewrite(proxy: Running, upstream: Recorder) -> None:
    assert fetch(proxy.port, "/rewritten/a%20b?q=%20").status == 200
    assert last(upstream).target == "/base/a%20b?q=%20"


def test_two_cookies_stay_two(proxy: Running, upstream: Recorder) -> None:
    upstream.response = lambda r, w: reply(b"x", headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2, c")])
    assert fetch(proxy.port).get_all("Set-Cookie") == ["a=1; Path=/", "b=2, c"]


def test_compressed_bytes_and_their_header_agree(proxy: Running, upstream: Recorder) -> None:
    packed = gzip.compress(b"hello" * 1000)
    upstream.response = lambda r, w: reply(packed, headers=[("Content-Encoding", "gzip")])
    response = fetch(proxy.port)
    assert (response.body, response.get("Content-Encoding"), response.get("Content-Length")) == (packed, "gzip", str(len(packed)))


def test_the_first_event_arrives_before_the_second_is_sent(proxy: Running, upstream: Recorder) -> None:
    go_on = threading.Event()

    def events(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"9\r\ndata: 1\n\n\r\n")
        assert go_on.wait(30)
        wire.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    upstream.response = events
    with Client(proxy.port) as client:
        client.send(request_bytes("/events"))
        assert client.read_until(b"data: 1\n\n").endswith(b"data: 1\n\n")
        go_on.set()
        assert b"data: 2\n\n" in client.read_until(b"data: 2\n\n")


def test_fields_that_connection_names_are_stripped(proxy: Running, upstream: Recorder) -> None:
    pairs = [("Connection", "close, X-Hop"), ("X-Hop", "1"), ("X-End", "2"), ("TE", "trailers"), ("Proxy", "x")]
    fetch(proxy.port, headers=pairs)
    names = {name.lower() for name, _ in last(upstream).headers}
    assert "x-end" in names and not names & {"x-hop", "te", "proxy", "keep-alive"}


def test_the_clients_fields_about_itself_pass_on_as_in_nginx(proxy: Running, upstream: Recorder) -> None:
    fetch(proxy.port, headers=[("X-Forwarded-For", "6.6.6.6"), ("X_Forwarded_For", "7.7.7.7"), ("X-Real-IP", "8.8.8.8")])
    seen = last(upstream)
    assert (seen.get("X-Forwarded-For"), seen.get("X-Real-IP")) == ("6.6.6.6", "8.8.8.8")
    assert b"7.7.7.7" not in seen.raw


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_truncated_answer_is_visibly_truncated(proxy: Running, upstream: Recorder, framing: str) -> None:
    def cut(request: Recorded, wire: Wire) -> None:
        if framing == "length":
            wire.send(reply(b"x" * 500, length=1000))
        else:
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        wire.close()

    upstream.response = cut
    with Client(proxy.port) as client:
        client.send(request_bytes("/"))
        response = client.read_response()
        assert response.status == 200 and not response.complete and client.ended


def test_an_upstream_that_closes_is_a_502(proxy: Running, upstream: Recorder) -> None:
    upstream.response = lambda r, w: w.close()
    assert fetch(proxy.port).status == 502


def test_an_upstream_that_is_silent_is_a_504(proxy: Running, upstream: Recorder) -> None:
    ended = threading.Event()

    def silent(request: Recorded, wire: Wire) -> None:
        ended.wait(30)
        wire.close()

    upstream.response = silent
    assert fetch(proxy.port, "/impatient").status == 504
    ended.set()


def test_a_101_nobody_asked_for_is_a_502(proxy: Running, upstream: Recorder) -> None:
    upstream.response = lambda r, w: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    assert fetch(proxy.port).status == 502


def test_ten_requests_use_one_upstream_connection(proxy: Running, upstream: Recorder) -> None:
    fetch(proxy.port)
    first = last(upstream).connection
    for _ in range(10):
        assert fetch(proxy.port).status == 200
    assert {request.connection for request in upstream.requests} == {first}


def test_head_keeps_the_length(proxy: Running, upstream: Recorder) -> None:
    upstream.response = lambda r, w: reply(b"", length=1234)
    with Client(proxy.port) as client:
        response = client.exchange(request_bytes("/", "HEAD"), "HEAD")
        assert response.status == 200 and response.get("Content-Length") == "1234" and not response.body


def test_an_early_hint_does_not_shift_the_answers(proxy: Running, upstream: Recorder) -> None:
    def hinted(request: Recorded, wire: Wire) -> bytes:
        return b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(request.target.encode())

    upstream.response = hinted
    for number in range(4):
        response = fetch(proxy.port, f"/{number}")
        assert (response.status, response.body) == (200, b"/%d" % number)


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(proxy: Running, upstream: Recorder, status: int) -> None:
    upstream.response = lambda r, w: reply(b"", status, [("ETag", '"x"')], length=None)
    response = fetch(proxy.port)
    assert (response.status, response.body, response.get("ETag")) == (status, b"", '"x"')


def test_a_range_passes(proxy: Running, upstream: Recorder) -> None:
    upstream.response = lambda r, w: reply(b"34", 206, [("Content-Range", "bytes 3-4/10")])
    response = fetch(proxy.port, headers=[("Range", "bytes=3-4")])
    assert last(upstream).get("Range") == "bytes=3-4"
    assert (response.status, response.body, response.get("Content-Range")) == (206, b"34", "bytes 3-4/10")


def test_a_client_that_expects_is_told_to_go_on(proxy: Running, upstream: Recorder) -> None:
    with Client(proxy.port) as client:
        client.send(request_bytes("/", "POST", [("Expect", "100-continue"), ("Content-Length", "5")]))
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send(b"12345")
        assert client.read_response("POST").status == 200
    assert last(upstream).body == b"12345"


def test_a_client_that_vanishes_leaves_nothing(proxy: Running, upstream: Recorder) -> None:
    with Client(proxy.port) as client:
        client.send(request_bytes("/", "POST", [("Content-Length", "100000")]) + b"x" * 10)
        client.reset()
    assert fetch(proxy.port, "/after").status == 200
    # The broken one is logged when it has ended, which may be later.
    wait_until(lambda: any(request.target == "/after" for request in upstream.requests), "the next request")


def test_garbage_is_a_400(proxy: Running, upstream: Recorder) -> None:
    with Client(proxy.port) as client:
        client.send(b"\x16\x03\x01 garbage\r\n\r\n")
        assert client.read_all().startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert not [request for request in upstream.requests if b"garbage" in request.raw_head]
