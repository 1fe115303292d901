"""The demonstration: the shipped configuration with real addresses, a live count, and a clean end."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT, Recorder, Running, fetch, free_port, running, wait_until
from wsgi_proxy.cli import demo


def processes() -> dict[int, int]:
    """Each process and its parent; zombies are left out."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    found = {pid}
    parents = processes()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@contextmanager
def demo_process(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "wsgi_proxy.cli.demo", "--bind", f"127.0.0.1:{port}"]
    server = Running(command, tmp_path, {"TMPDIR": str(tmp_path)})
    with running(server, [port]):
        wait_until(lambda: "Stop: Ctrl-C" in server.log(), "the demonstration to have started")
        yield server


def test_the_shipped_configuration_is_the_one_under_deploy() -> None:
    assert demo.configuration() == (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


def test_only_the_addresses_are_replaced() -> None:
    text = demo.configuration()
    placed = demo.place(text, "127.0.0.1:8080", {f"server{n}": f"127.0.0.1:400{n}" for n in range(1, 7)})
    back = placed.replace("listen 127.0.0.1:8080;", "listen 80;")
    for n in range(1, 7):
        back = back.replace(f"server 127.0.0.1:400{n} ", f"server server{n}:3000 ")
    assert back == text != placed
    assert "server1" not in placed and "listen 80;" not in placed


def test_an_address_that_is_not_there_is_an_error() -> None:
    with pytest.raises(demo.DemoError, match="server server7:3000"):
        demo.place(demo.configuration(), "80", {"server7": "127.0.0.1:1"})


def test_six_servers_four_workers_counted_and_gone_on_ctrl_c(tmp_path: Path) -> None:
    with demo_process(tmp_path) as server:
        # Six servers, the proxy's main process and its four workers.
        wait_until(lambda: len(descendants(server.pid)) >= 11, "four workers")
        children = descendants(server.pid)
        bodies = [fetch(server.port).text for _ in range(60)]
        announced = dict(re.findall(r"^(server\d): \S+  answers (\S+)$", server.log(), re.MULTILINE))
        assert len(announced) == 6
        expected = "  ".join(f"{name} {bodies.count(identity)}" for name, identity in announced.items())
        wait_until(lambda: expected in server.log(), f"the line {expected!r}")
        assert set(bodies) == set(announced.values())
        status = re.search(r"^status: http://127.0.0.1:\d+(\S+)$", server.log(), re.MULTILINE)
        assert status and fetch(server.port, status[1]).status == 200
        assert server.stop(signal.SIGINT, deadline=20) == 0
        assert server.log().endswith("Stopped.\n")
        assert not children & set(processes())
    assert not list(tmp_path.glob("wsgi-proxy-demo-*"))


def test_nothing_outlives_a_kill(tmp_path: Path) -> None:
    with demo_process(tmp_path) as server:
        children = descendants(server.pid)
        server.signal(signal.SIGKILL)
        try:
            wait_until(lambda: not children & set(processes()), "the children of a killed demonstration to end")
        finally:
            for pid in children & set(processes()):
                os.kill(pid, signal.SIGKILL)
            server.process.wait(30)


def test_a_server_that_dies_is_shown_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    with demo_process(tmp_path) as server:
        first = next(pid for pid in sorted(descendants(server.pid)) if b"wsgi_proxy.cli.echo" in cmdline(pid))
        os.kill(first, signal.SIGKILL)
        assert {fetch(server.port).status for _ in range(30)} == {200}
        wait_until(lambda: "server1 0 (stopped)" in server.log(), "the dead server to be shown")
        server.stop(deadline=20)


def cmdline(pid: int) -> bytes:
    return Path("/proc", str(pid), "cmdline").read_bytes()


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder() as other:
        assert demo.main(["--bind", other.address]) == 1
    assert capsys.readouterr().err == (
        f"wsgi-proxy demo: {other.address}: Address already in use; choose another address with --bind ADDRESS:PORT\n"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def echo() -> Iterator[demo.Echo]:
    server = demo.Echo("server1")
    server.read_address()
    yield server
    demo.stop(server.process)


def test_a_terminal_is_redrawn_in_place(echo: demo.Echo) -> None:
    screen = demo.Screen(Terminal())
    screen.show([echo], 0.0)
    echo.count = 5
    screen.show([echo], 0.1)
    screen.show([echo], 0.2)  # nothing new, nothing drawn
    first, second = screen.out.getvalue().split("\x1b[1A\x1b[J")  # type: ignore[attr-defined]
    assert first == "  server1          0  \n"
    assert second == f"  server1          5  {'#' * 40}\n"


def test_elsewhere_a_line_a_second(echo: demo.Echo) -> None:
    screen = demo.Screen(out := io.StringIO())
    screen.show([echo], 0.0)
    fetch(int(echo.address.rpartition(":")[2]))

    def counted() -> int:
        echo.read()
        return echo.count

    wait_until(counted)
    screen.show([echo], 0.1)
    echo.count += 1
    screen.show([echo], 0.5)
    echo.count += 1
    screen.show([echo], 1.2)
    assert out.getvalue() == "server1 1\nserver1 3\n"
