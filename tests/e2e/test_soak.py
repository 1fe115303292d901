"""Nothing is lost: steady load while servers die and hang, a worker is killed, and the configuration is reloaded.

`SOAK_SECONDS` (default 10) and `SOAK_RATE` (default 300 requests a second) make it as long and as hard as one likes.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.support import Client, Running, fetch, free_port, request_bytes, run_proxy, running, wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
RATE = float(os.environ.get("SOAK_RATE", "300"))
CLIENTS = 8

CONFIGURATION = """
worker_processes 2;
events {{ worker_connections 512; }}
http {{
    access_log off;
    upstream echo {{
        least_conn;
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://echo;
            proxy_read_timeout 500ms;
        }}
    }}
}}
"""


class Load:
    """GETs at a steady rate from several kept connections; what failed is kept with the time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.responses: Counter[int] = Counter()
        self.failures: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        client: Client | None = None
        due = time.monotonic()
        while not self._stop.is_set():
            due += CLIENTS / RATE
            self._stop.wait(max(0.0, due - time.monotonic()))
            try:
                client = client or Client(self.port)
                response = client.exchange(request_bytes("/"))
                self.responses[response.status] += 1
                if response.status != 200:
                    self.failures.append((time.monotonic(), f"status {response.status}"))
                if "close" in (response.get("Connection") or ""):
                    client.close()
                    client = None
            except (OSError, TimeoutError) as error:
                self.failures.append((time.monotonic(), repr(error)))
                if client is not None:
                    client.close()
                client = None
        if client is not None:
            client.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def since(self, started: float) -> list[str]:
        """Return the failures since then."""
        return [what for at, what in self.failures if at >= started]


def echo(stack: ExitStack, port: int, folder: Path) -> Running:
    command = [sys.executable, "-m", "wsgi_proxy", "echo", "--bind", f"127.0.0.1:{port}"]
    return stack.enter_context(running(Running(command, folder), [port]))


def test_nothing_is_lost_under_faults(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = [free_port() for _ in range(6)]
        echoes = [echo(stack, port, tmp_path / f"echo-{port}") for port in ports]
        lines = "\n".join(f"        server 127.0.0.1:{port} weight=10 max_fails=3 fail_timeout=1s;" for port in ports)
        server = stack.enter_context(run_proxy(CONFIGURATION.format(servers=lines, port=free_port()), tmp_path))
        load = Load(server.port)
        stack.callback(load.stop)
        part = SECONDS / 5

        def phase(act: object, name: str) -> list[str]:
            started = time.monotonic()
            if callable(act):
                act()
            wait_until(lambda: time.monotonic() - started >= part, name, part + 10)
            return load.since(started)

        assert phase(None, "plain load") == []
        assert phase(echoes[0].kill, "a killed server") == []
        echo(stack, ports[0], tmp_path / "again")
        hung = echoes[1]
        assert phase(lambda: hung.signal(signal.SIGSTOP), "a server that hangs") == []
        hung.signal(signal.SIGCONT)

        before = server.children()

        def reloaded() -> None:
            for _ in range(3):
                started = set(server.children())
                server.signal(signal.SIGHUP)
                wait_until(lambda started=started: set(server.children()) - started, "new workers")  # type: ignore[misc]

        assert phase(reloaded, "three reloads") == []
        wait_until(lambda: not set(before) & set(server.children()) and len(server.children()) == 2, "old workers to end", 40)

        victim = server.children()[0]
        lost = phase(lambda: os.kill(victim, signal.SIGKILL), "a killed worker")
        # At most the requests it held: one of each client that was connected to it.
        assert len(lost) <= CLIENTS, lost
        assert fetch(server.port).status == 200
        load.stop()
        assert set(load.responses) == {200}
        assert sum(load.responses.values()) > RATE * SECONDS * 0.5
        assert not re.search(r"Traceback|defect", server.log())
