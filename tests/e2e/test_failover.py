"""The whole proxy with several workers: a dead server, one that comes back, and kills in mid-load.

What nginx.conf says is the seed's: least_conn, weight=10, max_fails=3, six servers, four workers.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import Recorder, Running, fetch, free_port, reply, run_gunicorn, run_proxy, wait_until


def configuration(port: int, servers: Sequence[int], fail_timeout: int = 30, extra: str = "") -> str:
    lines = "\n".join(f"server 127.0.0.1:{server} weight=10 max_fails=3 fail_timeout={fail_timeout}s;" for server in servers)
    return f"""
worker_processes 4;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    upstream echo {{
        least_conn;
        {lines}
    }}
    server {{
        listen 127.0.0.1:{port};
        add_header X-Tries $upstream_addr always;
        {extra}
        location / {{ proxy_pass http://echo; }}
        location /status {{ wsgi_proxy_status json; }}
    }}
}}
"""


class Load:
    """Clients that ask again and again, each on its own connections, until the block ends."""

    def __init__(self, port: int, clients: int, requests: int = 0, path: str = "/", pause: float = 0.0) -> None:
        self.port, self.clients, self.requests, self.path, self.pause = port, clients, requests, path, pause
        self.statuses: Counter[int] = Counter()
        self.tries: Counter[str] = Counter()
        self.broken: list[Exception] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.requests:
            self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        left = self.requests // self.clients if self.requests else 1 << 60
        while left and not self._ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            try:
                # A few requests on each, so that all workers get some.
                for _ in range(min(left, 5)):
                    connection.request("GET", self.path)
                    response = connection.getresponse()
                    response.read()
                    with self._lock:
                        self.statuses[response.status] += 1
                        self.tries.update(re.split(", ", response.headers.get("X-Tries", "")))
                    left -= 1
                    if self._ended.wait(self.pause) if self.pause else self._ended.is_set():
                        break
            except (OSError, http.client.HTTPException) as error:
                left -= 1
                with self._lock:
                    self.broken.append(error)
            finally:
                connection.close()


@pytest.fixture
def servers() -> Iterator[list[Recorder]]:
    started = [Recorder(lambda request, wire: reply(request.server.encode()), name=str(n)) for n in range(1, 7)]
    for recorder in started:
        recorder.start()
    yield started
    for recorder in started:
        recorder.stop()


def proxied(servers: list[Recorder], tmp_path: Path, fail_timeout: int = 30) -> tuple[int, str]:
    port = free_port()
    return port, configuration(port, [server.port for server in servers], fail_timeout)


def test_a_dead_server_costs_max_fails_tries_among_all_workers(servers: list[Recorder], tmp_path: Path) -> None:
    servers[2].stop()
    dead = f"127.0.0.1:{servers[2].port}"
    port, text = proxied(servers, tmp_path)
    with run_proxy(text, tmp_path):
        with Load(port, clients=3, requests=600) as load:
            pass
        assert load.statuses == {200: 600} and not load.broken
        assert load.tries[dead] == 3
        assert load.tries.total() == 603
        # Each of the others has had its part.
        assert len(load.tries) == 6 and min(count for name, count in load.tries.items() if name != dead) > 60


@pytest.mark.parametrize("preload", [False, True], ids=["apart", "preloaded"])
@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_workers_of_any_server_find_each_other(servers: list[Recorder], tmp_path: Path, worker_class: str, preload: bool) -> None:
    """Without a word from us in gunicorn's configuration: the application alone."""
    servers[2].stop()
    dead = f"127.0.0.1:{servers[2].port}"
    conf = tmp_path / "nginx.conf"
    conf.write_text(configuration(80, [server.port for server in servers]))
    args = ["--preload"] if preload else []
    env = {"WSGI_PROXY_CONFIG": str(conf)}
    with run_gunicorn("wsgi_proxy:app", tmp_path, worker_class, 3, env=env, args=args) as gunicorn:
        with Load(gunicorn.port, clients=2, requests=200) as load:
            pass
    assert load.statuses == {200: 200} and not load.broken
    assert load.tries[dead] == 3


def test_a_server_that_comes_back_is_used_again_after_one_probe(servers: list[Recorder], tmp_path: Path) -> None:
    back = servers[2]
    back.stop()
    name = f"127.0.0.1:{back.port}"
    port, text = proxied(servers, tmp_path, fail_timeout=2)
    # least_conn would send no request to a server that does not respond; round robin does.
    with run_proxy(text.replace("least_conn;", ""), tmp_path):
        with Load(port, clients=1, requests=100) as load:
            pass
        assert load.tries[name] == 3
        closed_at = time.time()
        held = threading.Event()

        def hold(request: object, wire: object) -> bytes:
            held.wait(30)
            return reply(b"3")

        back.response = hold
        back.start()
        before = len(back.requests)
        with Load(port, clients=4, pause=0.002) as load:
            wait_until(lambda: len(back.requests) > before, "the probe")
            assert time.time() - closed_at >= 1
            # While it has no response, no other request goes there.
            responseed = load.statuses[200]
            wait_until(lambda: load.statuses[200] > responseed + 150, "others to be answered meanwhile")
            assert len(back.requests) == before + 1
            held.set()
            wait_until(lambda: len(back.requests) > before + 20, "the server to be used again")
        assert set(load.statuses) == {200} and not load.broken


def test_a_killed_server_fails_no_request(servers: list[Recorder], tmp_path: Path) -> None:
    """Its connections are cut while it responds; every GET is sent to another server."""
    port, text = proxied(servers, tmp_path)
    with run_proxy(text, tmp_path), Load(port, clients=6) as load:
        wait_until(lambda: load.statuses[200] > 200, "the load")
        servers[0].stop()
        responseed = load.statuses[200]
        wait_until(lambda: load.statuses[200] > responseed + 300, "the load after the kill")
        servers[0].start()
    assert set(load.statuses) == {200} and not load.broken


def workers(proxy: Running) -> list[int]:
    return proxy.children()


def test_a_killed_worker_takes_its_connections_along(servers: list[Recorder], tmp_path: Path) -> None:
    """Requests are held, all workers are killed one after the other, and new requests find even counts."""
    held = threading.Event()

    def hold(request: object, wire: object) -> bytes:
        if b"/hold" in request.raw_head:  # type: ignore[attr-defined]
            held.wait(30)
        return reply(b"x")

    for server in servers:
        server.response = hold
    port, text = proxied(servers, tmp_path)
    text = text.replace("weight=10", "weight=10 max_conns=2")
    try:
        with run_proxy(text, tmp_path) as proxy:
            with Load(port, clients=12, requests=12, path="/hold"):
                wait_until(lambda: sum(len(server.requests) for server in servers) == 12, "twelve held requests")
                assert fetch(port, "/").status == 502  # all are full
                killed = set(workers(proxy))
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
                held.set()
            # A process that is being killed still counts until it is gone.
            wait_until(lambda: len(workers(proxy)) == 4 and not killed & set(workers(proxy)), "new workers")
            with Load(port, clients=3, requests=120) as load:
                pass
            assert load.statuses == {200: 120} and not load.broken
            used = [count for name, count in load.tries.items()]
            assert len(used) == 6 and max(used) < 2 * min(used)
    finally:
        held.set()


def test_workers_killed_in_mid_load_leave_no_count_behind(servers: list[Recorder], tmp_path: Path) -> None:
    port, text = proxied(servers, tmp_path)
    text = text.replace("weight=10", "weight=10 max_conns=3")
    with run_proxy(text, tmp_path) as proxy:
        with Load(port, clients=8) as load:
            for _ in range(5):
                seen = load.statuses[200]
                wait_until(lambda seen=seen: load.statuses[200] > seen + 60, "the load")  # type: ignore[misc]
                os.kill(workers(proxy)[0], signal.SIGKILL)
                wait_until(lambda: len(workers(proxy)) == 4, "the new worker")
        # With a drift of three anywhere a server would be full for ever; then eighteen could not be open at once.
        held = threading.Event()

        def hold(request: object, wire: object) -> bytes:
            held.wait(30)
            return reply(b"x")

        before = sum(len(server.requests) for server in servers)
        for server in servers:
            server.response = hold
        try:
            with Load(port, clients=18, requests=18) as full:
                wait_until(lambda: sum(len(server.requests) for server in servers) == before + 18, "eighteen held requests")
                held.set()
        finally:
            held.set()
        assert full.statuses == {200: 18}
