"""Failing over with the seed's shape of configuration: six servers, four workers, one state."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .support import Client, Recorder, Running, fetch, free_port, reply, request_bytes, run_proxy, running, wait_until

CONFIGURATION = """
worker_processes {workers};
events {{ worker_connections 512; }}
http {{
    log_format tries '$status $upstream_addr $upstream_status';
    access_log logs/access.log tries;
    upstream echo {{
        least_conn;
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
    }}
}}
"""


def configuration(addresses: list[str], workers: int = 4, fail_timeout: str = "30s") -> str:
    lines = "\n".join(f"        server {address} weight=10 max_fails=3 fail_timeout={fail_timeout};" for address in addresses)
    return CONFIGURATION.format(workers=workers, servers=lines, port=free_port())


@contextmanager
def six(stack: ExitStack) -> Iterator[list[Recorder]]:
    yield [stack.enter_context(Recorder(lambda r, w, n=n: reply(b"%d" % n))) for n in range(6)]


def tries(server: Running) -> list[tuple[str, list[str]]]:
    """(status, addresses tried) of each request so far."""
    rows = []
    log = server.folder / "logs/access.log"
    for line in log.read_text().splitlines() if log.exists() else ():
        match = re.fullmatch(r"(\d+) (.*?) ([\d, -]+)", line)
        assert match, line
        rows.append((match[1], match[2].split(", ")))
    return rows


def ask(port: int, count: int, statuses: Counter[int], errors: list[str]) -> None:
    """`count` GETs on kept connections."""
    try:
        with Client(port) as client:
            for _ in range(count):
                statuses[client.exchange(request_bytes("/")).status] += 1
    except (OSError, TimeoutError) as error:
        errors.append(repr(error))


def load(port: int, clients: int, each: int) -> tuple[Counter[int], list[str]]:
    statuses: Counter[int] = Counter()
    errors: list[str] = []
    threads = [threading.Thread(target=ask, args=(port, each, statuses, errors)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return statuses, errors


def test_one_dead_server_of_six_is_tried_three_times_by_all_workers_together(tmp_path: Path) -> None:
    with ExitStack() as stack, six(stack) as recorders:
        dead = f"127.0.0.1:{free_port()}"
        addresses = [recorder.address for recorder in recorders]
        addresses[2] = dead
        server = stack.enter_context(run_proxy(configuration(addresses), tmp_path))
        # One after the other, over all workers: at the same moment several requests may be under way to the dead one.
        statuses: Counter[int] = Counter()
        for _ in range(600):
            statuses[fetch(server.port).status] += 1
        assert statuses == {200: 600}
        wait_until(lambda: len(tries(server)) == 600, "the access log")
        assert sum(addresses.count(dead) for _, addresses in tries(server)) == 3


def test_a_server_that_comes_back_gets_one_probe_after_fail_timeout(tmp_path: Path) -> None:
    with ExitStack() as stack, six(stack) as recorders:
        addresses = [recorder.address for recorder in recorders]
        server = stack.enter_context(run_proxy(configuration(addresses, workers=2, fail_timeout="2s"), tmp_path))
        recorders[0].stop()
        for _ in range(60):
            assert fetch(server.port).status == 200
        recorders[0].start()
        before = len(recorders[0].requests)

        def used_again() -> bool:
            assert fetch(server.port).status == 200
            return len(recorders[0].requests) > before + 3

        wait_until(used_again, "the server that came back")
        failed = [row for row in tries(server) if len(row[1]) > 1]
        assert len(failed) == 3 and all(status == "200" for status, _ in tries(server))


def test_a_killed_worker_takes_its_counts_with_it(tmp_path: Path) -> None:
    with ExitStack() as stack, six(stack) as recorders:
        held = threading.Event()
        release = threading.Event()
        stack.callback(release.set)
        addresses = [recorder.address for recorder in recorders]
        server = stack.enter_context(run_proxy(configuration(addresses, workers=2), tmp_path))

        def hold(request: object, wire: object) -> bytes:
            held.set()
            release.wait(20)
            return reply(b"held")

        for recorder in recorders[1:]:
            recorder.answer = hold  # type: ignore[assignment]
        # Five held requests make the first server the only one without a connection.
        clients = [stack.enter_context(Client(server.port, 30)) for _ in range(6)]
        for client in clients:
            client.send(request_bytes("/"))
        wait_until(lambda: sum(len(recorder.requests) for recorder in recorders) >= 6, "six requests")
        for pid in server.children():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(server.children()) >= 2 and _answers(server.port), "new workers")
        release.set()
        for recorder in recorders:
            recorder.answer = lambda r, w: reply(b"x")
            recorder.requests.clear()
        # Were the dead workers' counts still there, the first server would get more than its share.
        for _ in range(60):
            assert fetch(server.port).status == 200
        shares = [len(recorder.requests) for recorder in recorders]
        assert max(shares) - min(shares) <= 4, shares


def _answers(port: int) -> bool:
    try:
        return fetch(port).status in (200, 502)
    except OSError:
        return False


def test_no_idempotent_request_fails_when_a_server_is_killed_under_load(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = [free_port() for _ in range(6)]
        echoes = []
        for port in ports:
            command = [sys.executable, "-m", "wsgi_proxy.cli", "echo", "--bind", f"127.0.0.1:{port}"]
            folder = tmp_path / f"echo-{port}"
            echoes.append(stack.enter_context(running(Running(command, folder), [port])))
        server = stack.enter_context(run_proxy(configuration([f"127.0.0.1:{port}" for port in ports], workers=2), tmp_path))
        result: list[tuple[Counter[int], list[str]]] = []
        thread = threading.Thread(target=lambda: result.append(load(server.port, 8, 150)))
        thread.start()
        wait_until(lambda: len(tries(server)) > 100, "the load")
        echoes[0].kill()
        thread.join(60)
        statuses, errors = result[0]
        assert statuses == {200: 1200} and not errors, (statuses, errors)


def test_all_servers_dead_is_a_502_at_once(tmp_path: Path) -> None:
    with run_proxy(configuration([f"127.0.0.1:{port}" for port in (free_port(), free_port())], workers=1), tmp_path) as server:
        started = time.monotonic()
        assert [fetch(server.port).status for _ in range(4)] == [502] * 4
        assert time.monotonic() - started < 5
        assert "no live upstreams" in server.log()


def test_a_post_that_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        closing = stack.enter_context(Recorder(lambda r, w: w.close()))
        good = stack.enter_context(Recorder())
        server = stack.enter_context(run_proxy(configuration([closing.address, good.address], workers=1), tmp_path))
        statuses = sorted(fetch(server.port, "/", "POST", body=b"x").status for _ in range(2))
        assert statuses == [200, 502]
        assert len(closing.requests) == 1 and len(good.requests) == 1
