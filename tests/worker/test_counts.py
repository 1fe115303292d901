"""Connections as `stub_status` and $connections_* count them, compared with the same scenario in nginx."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import Client, Recorded, Recorder, Running, Wire, fetch, free_port, reply, run_nginx, run_proxy, wait_until
from wsgi_proxy.worker import counts

CONFIGURATION = """
worker_processes {workers};
events {{}}
http {{
    access_log off;
    map "" $wait {{ default "$connections_waiting"; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://{upstream}; }}
        location = /stub {{ stub_status; }}
        location = /variables {{ return 200 "$connections_active $connections_reading $connections_writing $wait"; }}
    }}
}}
"""
HEAD = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"


def nginx_with_the_module() -> str | None:
    program = shutil.which("nginx")
    if program is None:
        return None
    told = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=60).stderr
    return program if "http_stub_status_module" in told else None


@contextmanager
def started(kind: str, workers: int, tmp_path: Path, upstream: Recorder) -> Iterator[Running]:
    text = CONFIGURATION.format(port=free_port(), upstream=upstream.address, workers=workers)
    if kind == "ours":
        with run_proxy(text, tmp_path) as server:
            yield server
        return
    program = nginx_with_the_module()
    if program is None:
        pytest.skip("no nginx with ngx_http_stub_status_module")
    with run_nginx(text, tmp_path, program=program) as server:
        yield server


def stub(client: Client) -> dict[str, int]:
    body = client.exchange(HEAD % b"/stub").body.decode()
    found = re.fullmatch(
        r"Active connections: (\d+) \nserver accepts handled requests\n (\d+) (\d+) (\d+) \n"
        r"Reading: (\d+) Writing: (\d+) Waiting: (\d+) \n",
        body,
    )
    assert found is not None, body
    names = "active accepts handled requests reading writing waiting".split()
    return dict(zip(names, map(int, found.groups()), strict=True))


def settled(client: Client, **wanted: int) -> dict[str, int]:
    """Wait for these gauges; return the whole report."""
    seen: dict[str, int] = {}

    def agrees() -> bool:
        seen.clear()
        seen.update(stub(client))
        return all(seen[name] == value for name, value in wanted.items())

    try:
        wait_until(agrees, f"{wanted}")
    except AssertionError:
        raise AssertionError(f"wanted {wanted}, last seen {seen}") from None
    return seen


@pytest.mark.ours_alone("other workers do not count connections")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_gauges_in_every_state(kind: str, workers: int, tmp_path: Path) -> None:
    release = threading.Event()

    def script(request: Recorded, wire: Wire) -> bytes | None:
        if request.target == "/slow":
            assert release.wait(60)
        return reply(b"x")

    with Recorder(script) as upstream, started(kind, workers, tmp_path, upstream) as server, ExitStack() as stack:
        watcher = stack.enter_context(Client(server.port))
        first = settled(watcher, active=1, reading=0, writing=1, waiting=0)
        silent = [stack.enter_context(Client(server.port)) for _ in range(3)]
        begun = [stack.enter_context(Client(server.port)) for _ in range(4)]
        for client in begun:
            client.send(b"GET / HT")
        slow = [stack.enter_context(Client(server.port)) for _ in range(5)]
        for client in slow:
            client.send(HEAD % b"/slow")
        kept = [stack.enter_context(Client(server.port)) for _ in range(6)]
        for client in kept:
            assert client.exchange(HEAD % b"/").status == 200
        busy = settled(watcher, active=19, reading=4, writing=6, waiting=9)
        assert busy["accepts"] == busy["handled"] == first["accepts"] + 18
        shown = watcher.exchange(HEAD % b"/variables").body
        assert shown == b"19 4 6 9"
        for client in begun + silent:
            client.close()
        settled(watcher, active=12, reading=0, writing=6, waiting=6)
        release.set()
        for client in slow:
            assert client.read_response().status == 200
        before = settled(watcher, active=12, reading=0, writing=1, waiting=11)
        for client in slow + kept:
            client.close()
        settled(watcher, active=1, reading=0, writing=1, waiting=0)
        one = stub(watcher)
        two = stub(watcher)
        assert two["requests"] == one["requests"] + 1
        assert two["accepts"] == before["accepts"]


@pytest.mark.ours_alone("other workers do not count connections")
@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_every_connection_and_request_is_counted_at_once(kind: str, tmp_path: Path) -> None:
    with Recorder() as upstream, started(kind, 1, tmp_path, upstream) as server:
        with Client(server.port) as client:
            first = settled(client, active=1)  # the start was waited for by connections
        for number in range(1, 6):
            body = fetch(server.port, "/stub").body.split()
            accepts, requests = first["accepts"] + number, first["requests"] + number
            assert [int(word) for word in body[7:10]] == [accepts, accepts, requests]
        # Nor is a phantom left by a request that is refused, or by a client that resets its connection.
        with Client(server.port) as client:
            assert client.exchange(b"GET / HTTP/1.1\r\n\r\n").status == 400
        with Client(server.port) as client:
            client.send(b"GET ")
            client.reset()
        with Client(server.port) as client:
            seen = settled(client, active=1, reading=0, writing=1, waiting=0)
            # nginx counts a request from its first byte on, this proxy from a complete head.
            assert seen["accepts"] == first["accepts"] + 8 and seen["requests"] >= first["requests"] + 7


def test_the_indexes_are_those_of_the_shared_row() -> None:
    from wsgi_proxy.status import metrics

    names = ("ACCEPTED", "STARTED", "ACTIVE", "READING", "WRITING", "WAITING", "HANDSHAKES", "RESUMED", "HANDSHAKES_FAILED")
    assert [getattr(metrics, name) for name in names] == [getattr(counts, name) for name in names]
    assert metrics.PID >= counts.SIZE
