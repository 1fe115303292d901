"""Four proxies of two workers each with one real Redis: limits of connections and dead servers over all of them, and failures.

Redis hangs, dies, is full or cannot be reached, or a proxy is killed. No request fails, and no count is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import Recorded, Recorder, Running, Wire, fetch, free_port, reply, run_proxy, wait_until
from tests.support.redis import RedisServer
from wsgi_proxy.cluster.membership import digest_of

NUMBER = 10
DEADLINE = 90.0
CONF = """
worker_processes 2;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    wsgi_proxy_cluster {url} name=test timeout={timeout};
    limit_conn_zone $arg_key zone=shared:1m sync;
    limit_conn_status 429;
    limit_req_zone $arg_key zone=rate:1m rate=1000r/s sync;
    upstream app {{ zone app 64k sync; server {app}; }}
    upstream pair {{ zone pair 64k sync; server {dead} max_fails=3 fail_timeout=1h; server {app}; }}
    upstream checked {{ zone checked 64k sync; server {sick}; server {app}; }}
    server {{
        listen {port};
        location /checked {{ proxy_pass http://checked; health_check uri=/health interval=1; }}
        location / {{ proxy_pass http://app; limit_conn shared 10; limit_req zone=rate burst=10000 nodelay; }}
        location /pair {{ proxy_pass http://pair; proxy_next_upstream error timeout; }}
        location = /status.json {{ wsgi_proxy_status json; }}
    }}
}}
"""


class App:
    """An upstream: `/hold?key=` waits until the test opens the key's gate, any other path is answered at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.present: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.gates: dict[str, threading.Event] = {}
        self.server = Recorder(self.answer)

    def gate(self, key: str) -> threading.Event:
        with self.lock:
            return self.gates.setdefault(key, threading.Event())

    def answer(self, request: Recorded, wire: Wire) -> bytes:
        path, _, key = request.target.partition("?key=")
        with self.lock:
            self.present[key] += 1
            self.most[key] = max(self.most[key], self.present[key])
        if path == "/hold":
            self.gate(key).wait(DEADLINE)
        with self.lock:
            self.present[key] -= 1
        return reply(b"x")


class Place:
    """Four proxies, their upstreams and their Redis."""

    def __init__(self, directory: Path, timeout: str, stack: ExitStack, urls: Callable[[str], list[str]] | None = None) -> None:
        self.app = App()
        stack.enter_context(self.app.server)
        self.dead = stack.enter_context(Recorder(on_connect=lambda wire: wire.reset()))
        self.healthy = True
        self.sick = stack.enter_context(Recorder(lambda request, wire: reply(b"", 200 if self.healthy else 500)))
        self.redis = stack.enter_context(RedisServer(directory))
        self.ports = [free_port() for _ in range(4)]
        self.servers: list[Running] = []
        urls_of = urls or (lambda url: [url] * 4)
        for number, (port, url) in enumerate(zip(self.ports, urls_of(self.redis.url), strict=True)):
            servers = {"app": self.app.server.address, "dead": self.dead.address, "sick": self.sick.address}
            text = CONF.format(url=url, timeout=timeout, port=port, **servers)
            self.servers.append(stack.enter_context(run_proxy(text, directory / str(number))))
        self.pool = stack.enter_context(ThreadPoolExecutor(64))
        self.keys = 0

    def key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"

    def hold(self, key: str, count: int, ports: list[int]) -> tuple[list[Any], int]:
        """Send requests that the upstream holds, and return those in progress and the number of the refused ones."""
        before = self.app.present[key]
        sent = [
            self.pool.submit(fetch, ports[number % len(ports)], f"/hold?key={key}", timeout=DEADLINE) for number in range(count)
        ]

        def settled() -> bool:
            return self.app.present[key] - before + sum(each.done() for each in sent) == count

        wait_until(settled, "every request to be held or refused", DEADLINE)
        refused = [each.result().status for each in sent if each.done()]
        assert set(refused) <= {429}
        return [each for each in sent if not each.done()], len(refused)

    def release(self, key: str, held: list[Any]) -> None:
        self.app.gate(key).set()
        assert {each.result(DEADLINE).status for each in held} <= {200}

    def admitted(self, count: int = 40) -> int:
        """The requests of a new key that all proxies admit together at the same time."""
        key = self.key()
        held, _ = self.hold(key, count, self.ports)
        self.release(key, held)
        return len(held)

    def is_exact(self) -> bool:
        """True if the limit holds exactly. A busy machine may decide alone once, where Redis has a short timeout."""
        return self.admitted() == NUMBER

    def counted(self, key: str) -> int:
        """The requests of a key that Redis has counted; 0 without Redis."""
        client: Any = Redis(unix_socket_path=str(self.redis.socket))
        try:
            record = f"wsgi-proxy:{{test}}:conn:shared:{digest_of(key.encode())}"
            return sum(int(entry.split()[1]) for entry in client.hvals(record))
        finally:
            client.close()

    def is_free(self, key: str) -> bool:
        """True if no request of a key is counted: as many as the limit are admitted, at one proxy."""
        fresh = self.app.gates.pop(key, None)
        if fresh is not None:
            fresh.set()
        held, refused = self.hold(key, NUMBER, self.ports[:1])
        self.release(key, held)
        return refused == 0

    def states(self, upstream: str, server: str) -> list[dict[str, Any]]:
        """The numbers of a server as each proxy knows them."""
        found = []
        for port in self.ports:
            status = json.loads(fetch(port, "/status.json", timeout=DEADLINE).body)
            found.append(next(peer for peer in status["upstreams"][upstream] if peer["server"] == server))
        return found


@contextmanager
def traffic(place: Place, key: str) -> Iterator[Counter[int]]:
    """Send requests to all proxies all the time. Gives the counts of their statuses, complete at the end."""
    stop, statuses, errors = threading.Event(), Counter[int](), []

    def go(port: int) -> None:
        while not stop.wait(0.02):
            try:
                statuses[fetch(port, f"/quick?key={key}", timeout=DEADLINE).status] += 1
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=go, args=(port,)) for port in place.ports]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert not errors and set(statuses) == {200}, (errors, statuses)


def said(place: Place, text: str) -> list[bool]:
    return [text in server.log() for server in place.servers]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A timeout that no busy machine reaches."""
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("exact"), "30s", stack)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("hasty"), "300ms", stack)


def test_never_more_connections_than_the_limit_over_all_machines(exact: Place) -> None:
    for _ in range(3):
        assert exact.admitted() == NUMBER
    key = exact.key()
    exact.app.gate(key).set()
    targets = [(exact.ports[number % 4], f"/hold?key={key}") for number in range(400)]
    statuses = Counter(response.status for response in exact.pool.map(lambda target: fetch(*target, timeout=DEADLINE), targets))
    assert set(statuses) <= {200, 429} and exact.app.most[key] <= NUMBER
    wait_until(lambda: exact.is_free(key), "the counts to end", DEADLINE)


def test_a_dead_server_gets_max_fails_tries_from_all_machines(exact: Place) -> None:
    """Each request waits until all machines know the failures so far."""
    tries = 0
    for turn in range(24):
        before = exact.dead.connections
        assert fetch(exact.ports[turn % 4], "/pair", timeout=DEADLINE).status == 200
        tries += exact.dead.connections - before
        wait_until(
            lambda: {state["fails"] for state in exact.states("pair", exact.dead.address)} == {tries},  # noqa: B023
            "all machines to know the failures",
            DEADLINE,
        )
    assert tries == 3


def test_one_machine_checks_a_server_for_all(exact: Place) -> None:
    """The checks are those of one machine, and their results reach all."""

    def states() -> set[str]:
        return {state["state"] for state in exact.states("checked", exact.sick.address)}

    exact.healthy = False
    wait_until(lambda: states() == {"unhealthy"}, "all machines to know the failed check", DEADLINE)
    exact.healthy = True
    began, before = time.monotonic(), len(exact.sick.requests)
    wait_until(lambda: states() == {"up"}, "all machines to know the passed check", DEADLINE)
    wait_until(lambda: len(exact.sick.requests) >= before + 6, "more checks", DEADLINE)
    # Four machines would make four in a second.
    assert len(exact.sick.requests) - before <= time.monotonic() - began + 3


def test_the_counts_of_a_killed_worker_end(exact: Place) -> None:
    key = exact.key()
    held, _ = exact.hold(key, 5, exact.ports[:1])
    others, refused = exact.hold(key, 10, exact.ports[1:])
    assert refused == 5
    for pid in exact.servers[0].children():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: fetch(exact.ports[1], f"/quick?key={key}", timeout=DEADLINE).status == 200, "its counts to end", DEADLINE)
    exact.app.gate(key).set()
    for each in held:
        each.exception(DEADLINE)
    exact.release(key, others)


def test_a_redis_that_hangs_fails_no_request_and_leaves_no_count(hasty: Place) -> None:
    key = hasty.key()
    before, _ = hasty.hold(key, 4, hasty.ports)
    with traffic(hasty, hasty.key()):
        os.kill(hasty.redis.process.pid, signal.SIGSTOP)
        try:
            time.sleep(5)
            held, _ = hasty.hold(hasty.key(), 80, hasty.ports)
            assert NUMBER <= len(held) <= 4 * NUMBER, "each machine's own limit holds"
        finally:
            os.kill(hasty.redis.process.pid, signal.SIGCONT)
        hasty.release(f"k{hasty.keys}", held)
        hasty.release(key, before)
        wait_until(hasty.is_exact, "the machines to count together again", DEADLINE)
    wait_until(lambda: hasty.is_free(key), "the counts to end", DEADLINE)


def test_a_redis_that_is_killed_and_returns_empty(hasty: Place) -> None:
    key = hasty.key()
    held, _ = hasty.hold(key, 4, hasty.ports)
    with traffic(hasty, hasty.key()):
        hasty.redis.process.kill()
        hasty.redis.process.wait(30)
        wait_until(lambda: all(said(hasty, "the cluster's Redis fails, this machine decides alone")), deadline=DEADLINE)
        hasty.redis.socket.unlink(missing_ok=True)
        hasty.redis.start()
        wait_until(hasty.is_exact, "the machines to count together again", DEADLINE)
        wait_until(lambda: hasty.counted(key) == 4, "the requests that began before to be counted again", DEADLINE)
    hasty.release(key, held)
    wait_until(lambda: hasty.is_free(key), "the counts to end", DEADLINE)


def test_a_full_redis(hasty: Place) -> None:
    client = Redis(unix_socket_path=str(hasty.redis.socket))
    key = hasty.key()
    held, _ = hasty.hold(key, 4, hasty.ports)
    with traffic(hasty, hasty.key()):
        client.config_set("maxmemory", "1")
        more, _ = hasty.hold(key, 60, hasty.ports)
        assert len(held) + len(more) <= 4 * NUMBER
        client.config_set("maxmemory", "0")
        hasty.release(key, held + more)
        wait_until(hasty.is_exact, "the machines to count together again", DEADLINE)
    client.close()
    wait_until(lambda: hasty.is_free(key), "the counts to end", DEADLINE)


class Relay:
    """A TCP port in front of a unix socket. While it is cut, no byte passes and no connection is accepted or closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open = threading.Event()
        self.open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = [self.listener]
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.open.wait()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self.path))
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self.open.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other direction has ended

    def close(self) -> None:
        self.open.set()
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_a_partition_of_one_machine_and_a_killed_proxy(tmp_path: Path) -> None:
    """One machine cannot reach Redis: it applies its own limit, the others share theirs, and together they do so afterwards."""
    relays: list[Relay] = []

    def urls(url: str) -> list[str]:
        relays.append(Relay(tmp_path / "redis.sock"))
        return [f"redis://127.0.0.1:{relays[0].port}", url, url, url]

    with ExitStack() as stack:
        # The relay runs in this process, which a busy machine delays.
        place = Place(tmp_path, "1s", stack, urls)
        relay = relays[0]
        stack.callback(relay.close)
        wait_until(place.is_exact, "the machines to count together", DEADLINE)
        key = place.key()
        held, _ = place.hold(key, 3, place.ports[:1])
        with traffic(place, place.key()):
            relay.open.clear()
            wait_until(lambda: said(place, "the cluster's Redis fails")[0], "the partition to be noticed", DEADLINE)
            alone, refused = place.hold(key, NUMBER, place.ports[:1])
            assert len(alone) + len(held) == NUMBER and refused == 3, "its own limit holds"
            relay.open.set()
            wait_until(place.is_exact, "the machines to count together again", DEADLINE)
        place.release(key, held + alone)
        wait_until(lambda: place.is_free(key), "the counts to end", DEADLINE)

        killed = place.key()
        held, _ = place.hold(killed, 6, place.ports[3:])
        place.servers[3].kill()
        place.app.gate(killed).set()
        place.ports.pop()
        with traffic(place, place.key()):
            wait_until(lambda: place.is_free(killed), "the counts of the killed machine to end with its lease", DEADLINE)
        for each in held:
            each.exception(DEADLINE)
