"""A running server whose configuration a test can change, for the tests of the main process."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.client import Client
from tests.support.ports import free_port, wait_until
from tests.support.processes import Running, running

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Site:
    """A running server and its configuration file."""

    def __init__(self, server: Running, file: Path, said: dict[str, Any]) -> None:
        self.server = server
        self.file = file
        self.said = said
        self.port: int = said["ports"][0]

    def say(self, **changes: Any) -> None:
        self.said.update(changes)
        self.file.write_text(json.dumps(self.said))

    def reload(self, **changes: Any) -> None:
        """Change the file, send HUP, and wait until the reload has succeeded or failed."""
        seen = self.count()
        self.say(**changes)
        self.server.signal(signal.SIGHUP)
        wait_until(lambda: self.count() > seen, "the reload")

    def count(self) -> int:
        log = self.server.log()
        return log.count("serve the new configuration") + log.count("the old one stays in use")

    def workers(self) -> set[int]:
        return set(self.server.children())

    @property
    def pid_file(self) -> Path:
        return self.file.parent / str(self.said.get("pid", "t.pid"))


@contextmanager
def site(tmp_path: Path, **said: Any) -> Iterator[Site]:
    said = {"ports": [free_port()], "text": "one", **said}
    file = tmp_path / "said.json"
    file.write_text(json.dumps(said))
    server = Running([sys.executable, "-m", "tests.support.server_script", str(file)], tmp_path)
    with running(server, said["ports"]):
        here = Site(server, file, said)
        wait_until(here.pid_file.exists, "the workers and the pid file")
        yield here


class Load:
    """Clients that send requests on persistent connections without a pause until the block ends. `faults` has the failures."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.port = port
        self.responses: list[str] = []
        self.faults: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        client: Client | None = None
        while not self._end.wait(0.002):
            try:
                client = client or Client(self.port)
                response = client.exchange(GET)
                assert response.status == 200 and response.complete
                self.responses.append(response.text)
                if response.get("Connection") == "close":
                    client.close()
                    client = None
            except Exception as fault:
                self.faults.append(repr(fault))
                client = None
        if client is not None:
            client.close()
