"""A client that leaves is noticed while its request waits for an upstream, under every kind of worker."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    chunked,
    fetch,
    reply,
    request_bytes,
    run_gunicorn,
    unless_late,
    wait_until,
)
from wsgi_proxy.errors import ClientGone
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.transport.client_watch import Watched, watched

CONF = """
error_log stderr info;
events {{ }}
http {{
    log_format short '$request_uri $status';
    access_log access.log short;
    server {{
        listen 80;
        location / {{ proxy_pass http://{0}; }}
        location /stays {{ proxy_pass http://{0}; proxy_ignore_client_abort on; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=["sync", "gthread", "gevent", "wsgi_proxy.worker.ProxyWorker"])
def server(request: pytest.FixtureRequest, upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("watch")
    (folder / "gunicorn").mkdir()
    (folder / "gunicorn" / "nginx.conf").write_text(CONF.format(upstream.address))
    args = ["--threads", "4"] if request.param == "gthread" else []
    with run_gunicorn("wsgi_proxy:app", folder, request.param, args=args) as server:
        yield server


class Held:
    """An upstream that holds its answers back, behind `begin`; `came` has the targets, `ended` those whose proxy left first."""

    def __init__(self, upstream: Recorder, begin: bytes = b"") -> None:
        self.came: list[str] = []
        self.ended: list[str] = []
        self.go = threading.Event()
        self.begin = begin
        upstream.response = self

    def __call__(self, request: Recorded, wire: Wire) -> bytes | None:
        self.came.append(request.target)
        if self.begin:
            wire.send(self.begin)
        wire.sock.settimeout(0.02)
        while not self.go.is_set():
            try:
                if not wire.sock.recv(1):
                    self.ended.append(request.target)
                    return None
            except TimeoutError:
                continue
            except OSError:
                self.ended.append(request.target)
                return None
        wire.sock.settimeout(30)
        return chunked(b"late") if self.begin else reply(b"late")


def log(server: Running) -> str:
    path = server.folder / "access.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnow\r\n"])
def test_who_leaves_frees_the_upstream(server: Running, upstream: Recorder, how: str, begin: bytes) -> None:
    held = Held(upstream, begin)
    with Client(server.port) as client:
        client.send(request_bytes(f"/{how}"))
        if begin:
            client.read_until(b"now")
        wait_until(lambda: f"/{how}" in held.came, "the request")
        client.reset() if how == "reset" else client.close()
        wait_until(lambda: held.ended == [f"/{how}"], "the end of the upstream's connection")
    held.go.set()
    if not begin:
        wait_until(lambda: f"/{how} 499" in log(server), "the line in the log")
    assert fetch(server.port).body.endswith(b"late")
    assert "Traceback" not in server.log()


def test_who_ends_only_its_half_gets_its_answer(server: Running, upstream: Recorder) -> None:
    def ask() -> None:
        held = Held(upstream)
        with Client(server.port) as client:
            client.send(request_bytes("/half", close=True))
            client.sock.shutdown(socket.SHUT_WR)
            wait_until(lambda: "/half" in held.came, "the request")
            held.go.set()
            assert client.read_response().body == b"late"

    unless_late(1.0, ask)


def test_what_a_client_sends_ahead_is_not_its_end(server: Running, upstream: Recorder) -> None:
    held = Held(upstream)
    with Client(server.port) as client:
        client.send(request_bytes("/one"))
        wait_until(lambda: "/one" in held.came, "the request")
        client.send(request_bytes("/two"))
        time.sleep(0.05)
        held.go.set()
        assert client.read_response().body == b"late"


def test_it_may_be_told_not_to(server: Running, upstream: Recorder) -> None:
    held = Held(upstream)
    with Client(server.port) as client:
        client.send(request_bytes("/stays"))
        wait_until(lambda: "/stays" in held.came, "the request")
    time.sleep(0.1)
    assert "/stays" not in held.ended
    held.go.set()
    wait_until(lambda: "/stays 200" in log(server), "the line in the log")


# --- the waiting itself -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Watched, socket.socket, Stream, socket.socket]]:
    """(a watched client, its other end, a stream from an upstream, its other end)."""
    listener = socket.create_server(("127.0.0.1", 0))
    far = socket.create_connection(listener.getsockname())
    near, _ = listener.accept()
    ours, theirs = socket.socketpair()
    stream = Stream.of(ours)
    yield Watched(near), far, stream, theirs
    for each in (listener, far, near, stream, theirs):
        each.close()


def test_the_read_timeout_holds(ends: tuple[Watched, socket.socket, Stream, socket.socket]) -> None:
    client, _, stream, theirs = ends
    stream.read_timeout = 0.05
    with pytest.raises(TimeoutError):
        client.wait(stream)
    theirs.send(b"x")
    client.wait(stream)
    assert not client.gone


def test_a_client_that_ended_its_half_is_gone_when_it_takes_nothing(
    ends: tuple[Watched, socket.socket, Stream, socket.socket],
) -> None:
    client, far, stream, _ = ends
    far.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    with pytest.raises(ClientGone):
        client.wait(stream)
    assert client.gone and time.monotonic() - began >= 0.9


def test_the_upstream_comes_first(ends: tuple[Watched, socket.socket, Stream, socket.socket]) -> None:
    client, far, stream, theirs = ends
    theirs.send(b"x")
    far.close()
    client.wait(stream)
    assert not client.gone


def test_only_a_connection_that_is_handed_over_is_watched() -> None:
    assert watched({}) is None
    assert watched({"werkzeug.socket": object()}) is not None


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_who_leaves_by_tls_is_seen_too(upstream: Recorder, tmp_path: Path, worker: str) -> None:
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "nginx.conf").write_text(CONF.format(upstream.address))
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    args = ["--certfile", "both.pem", "--keyfile", "both.pem", "--threads", "4"]
    context = ssl.create_default_context()
    authority.configure_trust(context)
    held = Held(upstream)
    with run_gunicorn("wsgi_proxy:app", tmp_path, worker, args=args) as server:
        for target in ("/polite", "/rude"):
            sock = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost")
            sock.sendall(request_bytes(target))
            wait_until(lambda target=target: target in held.came, "the request")  # type: ignore[misc]
            if target == "/polite":
                with pytest.raises((TimeoutError, ssl.SSLError)):
                    # The end of TLS is said; gunicorn, which does not read, says nothing in return.
                    sock.settimeout(0.1)
                    sock.unwrap()
            sock.close()
            wait_until(lambda target=target: target in held.ended, "the end of the upstream's connection")  # type: ignore[misc]
        held.go.set()
        # gevent prints its own traceback if a client only checks that the port is open.
        assert "wsgi_proxy/" not in server.log()
