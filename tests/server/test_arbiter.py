"""Starting and reloading, with real processes under a steady load."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

from tests.support.client import Client, fetch
from tests.support.ports import accepts, free_port, wait_until
from tests.support.processes import Running
from tests.support.server_site import Load, site


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
