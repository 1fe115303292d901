"""server_arbiter: reloading, stopping and surviving, with real processes under a steady load."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.client import Client, fetch
from tests.support.ports import accepts, free_port, wait_until
from tests.support.processes import Running, running

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Site:
    """A running server and the file that says what it is to be."""

    def __init__(self, server: Running, file: Path, said: dict[str, Any]) -> None:
        self.server = server
        self.file = file
        self.said = said
        self.port: int = said["ports"][0]

    def say(self, **changes: Any) -> None:
        self.said.update(changes)
        self.file.write_text(json.dumps(self.said))

    def reload(self, **changes: Any) -> None:
        """Change the file, send HUP, and wait until it is done or refused."""
        seen = self.count()
        self.say(**changes)
        self.server.signal(signal.SIGHUP)
        wait_until(lambda: self.count() > seen, "the reload")

    def count(self) -> int:
        log = self.server.log()
        return log.count("serve the new configuration") + log.count("the old one goes on")

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
    """Clients that ask on kept connections, as fast as they are answered, until the block ends; `faults` are the failures."""

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


def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as here, Load(here.port) as load:
        old = here.workers()
        for text in ("two", "three", "four"):
            here.reload(text=text)
        wait_until(lambda: load.responses[-1:] == ["four"] and len(here.workers()) == 2, "the last configuration alone")
    assert load.faults == []
    assert list(dict.fromkeys(load.responses)) == ["one", "two", "three", "four"]
    assert not old & here.workers()


def test_listeners_come_and_go(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    with site(tmp_path, ports=[first]) as here:
        here.reload(ports=[first, second], text="both")
        assert fetch(second).text == "both"
        here.reload(ports=[second], text="second")
        wait_until(lambda: not accepts(first), "the first to be closed")
        assert fetch(second).text == "second"
        wait_until(lambda: len(here.workers()) == 2, "the old workers to end")


def test_a_broken_configuration_changes_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as here, Load(here.port, 2) as load:
        old = here.workers()
        here.reload(broken=True, ports=[free_port()])
        log = here.server.log()
        assert "[emerg]" in log and "x.conf:3: first fault" in log and "x.conf:4: second fault" in log
        taken = free_port()
        with socket.create_server(("127.0.0.1", taken)):
            here.reload(broken=False, ports=[here.port, taken])
        assert f"bind() to 127.0.0.1:{taken} failed (98: Address already in use)" in here.server.log()
        # An application that cannot be made is found out by the new workers, and they alone end.
        here.reload(ports=[here.port], unloadable=True)
        wait_until(lambda: here.workers() == old, "only the old workers")
        here.reload(unloadable=False, text="two")
        wait_until(lambda: load.responses[-1:] == ["two"], "the good one")
    assert load.faults == []


def test_a_tunnel_outlives_a_reload_and_ends_with_its_client(tmp_path: Path) -> None:
    with site(tmp_path) as here, Client(here.port) as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_exactly(7) == b"tunnel "
        here.reload(text="two")
        wait_until(lambda: len(here.workers()) == 3, "the idle old worker to end")
        client.send(b"still there?")
        assert client.read_exactly(12) == b"still there?"
        # The old worker does not count: one that is killed is replaced.
        victim = int(fetch(here.port).get("X-Pid") or 0)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in here.workers() and len(here.workers()) == 3, "another worker")
        client.close()
        wait_until(lambda: len(here.workers()) == 2, "the old worker to end")


def test_worker_shutdown_timeout_ends_tunnels(tmp_path: Path) -> None:
    with site(tmp_path, shutdown_timeout=0.3) as here, Client(here.port) as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_exactly(7) == b"tunnel "
        here.reload(text="two")
        assert client.read_all() == b""
        wait_until(lambda: len(here.workers()) == 2, "the old workers to end")


def test_the_number_of_workers_follows_the_configuration(tmp_path: Path) -> None:
    with site(tmp_path, workers=1) as here:
        assert len(here.workers()) == 1
        here.reload(workers=3)
        wait_until(lambda: len(here.workers()) == 3, "three workers")
        here.reload(workers=1)
        wait_until(lambda: len(here.workers()) == 1, "one worker")


def test_quit_and_term_let_requests_end(tmp_path: Path) -> None:
    for number in (signal.SIGQUIT, signal.SIGTERM):
        with site(tmp_path) as here:
            (tmp_path / "begun").unlink(missing_ok=True)
            with Client(here.port) as busy, Client(here.port) as idle:
                assert idle.exchange(GET).status == 200
                busy.send(GET.replace(b"/ ", b"/slow ", 1))
                wait_until((tmp_path / "begun").exists, "the request to begin")
                here.server.signal(number)
                response = busy.read_response()
                assert (response.text, response.get("Connection")) == ("one", "close")
                assert idle.read_all() == b""
            assert here.server.process.wait(30) == 0


def test_int_ends_at_once(tmp_path: Path) -> None:
    with site(tmp_path) as here, Client(here.port) as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_exactly(7) == b"tunnel "
        here.server.signal(signal.SIGINT)
        assert here.server.process.wait(30) == 0


def test_the_pid_file(tmp_path: Path) -> None:
    with site(tmp_path, pid="run/first.pid") as here:
        first = here.pid_file
        assert int(first.read_text()) == here.server.pid
        here.reload(pid="second.pid")
        assert int(here.pid_file.read_text()) == here.server.pid and not first.exists()
        second = here.pid_file
    assert not second.exists()


def test_logs_are_reopened(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    with site(tmp_path, log="error.log") as here:
        wait_until(lambda: log.exists() and "Booting" in log.read_text(), "the log")
        log.rename(tmp_path / "old.log")
        here.server.signal(signal.SIGUSR1)
        wait_until(log.exists, "a new log")
        victim = min(here.workers())
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: "Booting worker" in log.read_text(), "a line in the new log")


def test_killed_workers_are_replaced_and_the_rest_goes_on(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        for _ in range(2):
            victim = min(here.workers())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: victim not in here.workers() and len(here.workers()) == 2, "another worker")
            assert fetch(here.port).status == 200


def test_workers_end_with_their_arbiter(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        os.kill(here.server.pid, signal.SIGKILL)
        here.server.process.wait(30)
        wait_until(lambda: not here.workers(), "the workers to end")


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    port = free_port()
    for said, words in (
        ({"ports": [port], "broken": True}, "x.conf:3: first fault"),
        ({"ports": [port], "text": "x", "unloadable": True}, "the application cannot be made"),
    ):
        file = tmp_path / "said.json"
        file.write_text(json.dumps(said))
        server = Running([sys.executable, "-m", "tests.support.server_script", str(file)], tmp_path)
        assert server.process.wait(30) != 0
        assert words in server.log()
        server.stop()


def test_workers_told_to_end_when_they_were_only_just_forked_do_end(tmp_path: Path) -> None:
    with site(tmp_path, workers=1) as here:
        for _ in range(8):
            here.server.signal(signal.SIGTTIN)
            here.server.signal(signal.SIGTTOU)
            # The answer shows that the main process and the loop around it have gone on.
            assert fetch(here.port).status == 200
        wait_until(lambda: len(here.workers()) == 1, "one worker", 30)


def test_usr2_starts_another_main_process_beside_this_one(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        second = here.pid_file.with_name(here.pid_file.name + ".2")
        here.server.signal(signal.SIGUSR2)
        wait_until(second.exists, "the second main process")
        pid = int(second.read_text())
        assert pid != here.server.pid and fetch(here.port).status == 200
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not second.exists() and len(here.workers()) == 2, "the second one's end")
        assert fetch(here.port).status == 200
