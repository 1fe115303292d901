"""The tests' tools: exact bytes, exact framing, no process left behind."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    accepts,
    chunked,
    fetch,
    free_port,
    listen_addresses,
    parse_response,
    reply,
    run_gunicorn,
    run_nginx,
    send_raw,
    session_members,
    wait_until,
)

HELLO = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


def test_recorder_keeps_exact_bytes_and_connections() -> None:
    head = b"POST /a%2Fb?x HTTP/1.1\r\nhOST:  h \r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3;ext=1\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    with Recorder() as upstream, Client(upstream.port) as client:
        assert client.exchange(head + body).body == b"ok"
        assert client.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").status == 200
        fetch(upstream.port)
    first, second, third = upstream.requests
    assert first.raw == head + body
    assert (first.body, first.trailers, first.target) == (b"abc", [("X-Sum", "1")], "/a%2Fb?x")
    assert first.headers[0] == ("hOST", "h")
    assert [(r.connection, r.number) for r in (first, second, third)] == [(1, 1), (1, 2), (2, 1)]
    assert upstream.connections == 2


def test_recorder_records_a_body_that_is_cut_off() -> None:
    with Recorder() as upstream:
        got = send_raw(upstream.port, b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", half_close=True)
    assert got == b""
    assert (upstream.requests[0].body, upstream.requests[0].complete) == (b"abc", False)


def test_recorder_holds_drips_resets_and_comes_back() -> None:
    gate = threading.Event()

    def script(request: Recorded, wire: Wire) -> bytes | None:
        if request.target == "/held":
            assert gate.wait(30)
        elif request.target == "/drip":
            wire.drip(reply(b"drops"), pause=0.001, size=7)
            return None
        elif request.target == "/reset":
            wire.reset()
            return None
        return reply(b"done", length=20 if request.target == "/short" else -1)

    with Recorder(script) as upstream:
        with Client(upstream.port) as client:
            client.send(b"GET /held HTTP/1.1\r\n\r\n")
            wait_until(lambda: upstream.requests)
            gate.set()
            assert client.read_response().body == b"done"
        assert fetch(upstream.port, "/drip").body == b"drops"
        with pytest.raises(ConnectionError):
            fetch(upstream.port, "/reset")
        short = fetch(upstream.port, "/short")
        assert (short.body, short.complete) == (b"done", False)
        upstream.stop()
        assert not accepts(upstream.port)
        upstream.start()
        assert fetch(upstream.port).status == 200
    wait_until(lambda: upstream.open_connections == 0)


def test_a_failing_script_fails_the_block() -> None:
    def script(request: Recorded, wire: Wire) -> bytes:
        raise KeyError("oops")

    with pytest.raises(AssertionError, match="oops"), Recorder(script) as upstream:
        assert send_raw(upstream.port, b"GET / HTTP/1.1\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("raw", "method", "body", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", b"abc", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "GET", b"abc", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "HEAD", b"", True),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", "GET", b"abc", True),
        (b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", "GET", b"", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"a", b"bc"), "GET", b"abc", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "GET", b"abc", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na", "GET", b"a", False),
    ],
)
def test_parse_response_frames(raw: bytes, method: str, body: bytes, complete: bool) -> None:
    response = parse_response(b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + raw, method)
    assert response is not None
    assert (response.body, response.complete) == (body, complete)
    assert [(i.status, i.headers) for i in response.interim] == [(103, [("Link", "</x>")])]


def test_parse_response_leaves_what_comes_behind() -> None:
    response = parse_response(reply(b"one") + reply(b"two"))
    assert response is not None
    assert response.raw == reply(b"one") and response.rest == reply(b"two")


def test_listen_addresses(tmp_path: Path) -> None:
    text = "listen 81;\n listen 127.0.0.1:82 ssl; listen [::1]:83;\n# listen 84;\nlisten unix:a.sock; listen *:81;"
    assert listen_addresses(text, tmp_path) == [81, 82, ("::1", 83), str(tmp_path / "a.sock")]


def test_nginx_and_gunicorn_run_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "hello.py").write_text(HELLO)
    with run_gunicorn("hello:app", tmp_path, "gthread", 2) as gunicorn:
        port = free_port()
        conf = (
            "events {} worker_processes 2;\n"
            f"http {{ server {{ listen {port}; location / {{ proxy_pass http://127.0.0.1:{gunicorn.port}; }} }} }}"
        )
        with run_nginx(conf, tmp_path) as nginx:
            assert nginx.port == port
            assert fetch(port).body == b"hello"
            wait_until(lambda: len(nginx.children()) == 2)
            wait_until(lambda: len(gunicorn.children()) == 2)
        assert not accepts(port)
    assert session_members(nginx.pid) == session_members(gunicorn.pid) == []


def test_gunicorn_on_a_unix_socket(tmp_path: Path) -> None:
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "hello.py").write_text(HELLO)
    with run_gunicorn("hello:app", tmp_path, bind=str(tmp_path / "g.sock")) as gunicorn:
        assert fetch(gunicorn.address).body == b"hello"


def test_a_start_that_fails_shows_the_output(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match='unknown directive "foo"'), run_nginx("foo;", tmp_path, [1]):
        pass


def test_a_process_left_behind_is_found_and_killed(tmp_path: Path) -> None:
    server = Running(["sh", "-c", "sleep 60 & echo $! >child; exec sleep 60"], tmp_path)
    wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    child = int((tmp_path / "child").read_text())
    assert session_members(server.pid) == sorted([server.pid, child])
    with pytest.raises(AssertionError, match="left processes behind"):
        server.stop(signal.SIGTERM, workers_deadline=0.1)
    assert not os.path.exists(f"/proc/{child}") or session_members(server.pid) == []
