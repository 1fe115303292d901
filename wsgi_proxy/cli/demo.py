"""`wsgi-proxy demo`: six echo servers behind the proxy, with a live count of the requests at each server.

Rules:
- The configuration is `demo.conf` beside this module. Its addresses are replaced, because `server1` to `server6` are names of
  containers and port 80 needs privileges, and `watched` adds a status page.
- The proxy is started by its command line, as a user starts it.
- The counts come from the logs of the echo servers, not from the proxy.
- Each child runs in a separate session, so that Ctrl-C reaches this process only. It stops the proxy first, then the servers. If
  this process is killed, the kernel stops the children.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import IO

from .address import parse_bind, unusable

SERVERS = 6
STATUS = "/status"
START_DEADLINE = 20.0
"""Seconds until the proxy must accept connections."""
STOP_DEADLINE = 5.0
"""Seconds until a process that does not end is killed."""
TICK = 0.1
"""Seconds between two checks of the children."""
LINE_EVERY = 1.0
"""Seconds between two lines if the output is not a terminal."""

_PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """An error that ends the demonstration, with a message for the user."""


def configuration() -> str:
    """Return the text of `demo.conf`."""
    return (files(__package__) / "demo.conf").read_text(encoding="utf-8")


def place(text: str, listen: str, servers: Mapping[str, str]) -> str:
    """Return the configuration with `listen 80` and each `NAME:3000` of `servers` replaced by real addresses.

    Raises DemoError unless each of them occurs exactly once.
    """
    changes = {"listen 80;": f"listen {listen};"}
    changes |= {f"server {name}:3000 ": f"server {address} " for name, address in servers.items()}
    for old, new in changes.items():
        if text.count(old) != 1:
            raise DemoError(f"demo.conf must contain {old!r} exactly once; reinstall the package")
        text = text.replace(old, new)
    return text


def watched(text: str, listen: str) -> str:
    """Return the placed configuration with a status page, and a short time to connect: a killed machine costs no minute."""
    listens = f"listen {listen};"
    status = f"location = {STATUS} {{ wsgi_proxy_status; }}"
    return text.replace(listens, f"{listens}\n\t\tproxy_connect_timeout 2s;\n\t\t{status}")


def with_parent(signal_number: int) -> Callable[[], None] | None:
    """Return a function for a new child: the kernel then signals it when this process ends. None if not on Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent ended before the call

    return ask


def start(command: Sequence[str], stdout: int | IO[bytes], stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a child in a separate session that ends with this process."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=with_parent(signal.SIGTERM),
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a child by SIGTERM, then by SIGKILL to its whole session."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Echo:
    """One echo server with its UUID and the number of requests it has logged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = start(["wsgi_proxy.cli.echo", "--bind", "127.0.0.1:0"], subprocess.PIPE)
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self.count = 0
        self.identity = ""
        self.address = ""

    def read_address(self) -> None:
        """Wait for the first line, which contains the UUID and the port."""
        words = self.output.readline().decode("ascii").split()
        if len(words) != 4:
            raise DemoError(f"{self.name} did not start; its error is above")
        self.identity, self.address = words[0], words[3]
        os.set_blocking(self.output.fileno(), False)

    def read(self) -> None:
        """Count the lines logged since the last call."""
        while data := self.output.read(65536):
            self.count += data.count(b"\n")


class Screen:
    """The display of the counts: in place on a terminal, else a line after each change, at most once a second."""

    def __init__(self, out: IO[str]) -> None:
        self.out = out
        self.live = out.isatty()
        self._shown: list[tuple[int, bool]] = []
        self._drawn = 0
        self._next = 0.0

    def say(self, text: str) -> None:
        """Print a permanent message above the counts."""
        self._wipe()
        self.out.write(text + "\n")
        self.out.flush()
        self._shown = []

    def show(self, servers: Sequence[Echo], now: float) -> None:
        """Show the counts if they have changed and the last line is old enough."""
        state = [(server.count, server.process.poll() is None) for server in servers]
        if state == self._shown or now < self._next:
            return
        if not self.live and not any(count for count, _ in state):
            return
        self._wipe()
        if self.live:
            self._draw(servers, state)
        else:
            counts = zip(servers, state, strict=True)
            words = (f"{server.name} {count}{'' if alive else ' (stopped)'}" for server, (count, alive) in counts)
            self.out.write("  ".join(words) + "\n")
            self._next = now + LINE_EVERY
        self.out.flush()
        self._shown = state

    def _draw(self, servers: Sequence[Echo], state: Sequence[tuple[int, bool]]) -> None:
        most = max(1, *(count for count, _ in state))
        for server, (count, alive) in zip(servers, state, strict=True):
            bar = "#" * (40 * count // most) if alive else "(stopped)"
            self.out.write(f"  {server.name}  {count:>9}  {bar}\n")
        self._drawn = len(servers)

    def _wipe(self) -> None:
        if self._drawn:
            self.out.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0


class Demo:
    """All processes of one demonstration. A signal ends `run` by KeyboardInterrupt."""

    def __init__(self, listen: tuple[str, int], screen: Screen) -> None:
        self.listen = listen
        self.screen = screen
        self.servers: list[Echo] = []
        self._stack = ExitStack()

    def run(self) -> None:
        """Start all processes, watch them, and finally stop them in reverse order."""
        with self._stack as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsgi-proxy-demo-")))
            try:
                self._start_servers()
                log = stack.enter_context(open(directory / "proxy.log", "w+b"))
                requests = stack.enter_context(open(directory / "access.log", "wb"))
                self._watch(self._start_proxy(directory, log, requests), log.name)
            finally:
                # A second Ctrl-C must not interrupt the shutdown.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _start_servers(self) -> None:
        for number in range(1, SERVERS + 1):
            server = Echo(f"server{number}")
            self._stack.callback(stop, server.process)
            self.servers.append(server)
        for server in self.servers:
            server.read_address()
            self.screen.say(f"{server.name}: http://{server.address}  answers {server.identity}")

    def _start_proxy(self, directory: Path, log: IO[bytes], requests: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the proxy, with its messages in `log` and its access log in `requests`, and wait until it accepts."""
        host, port = self.listen
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        conf = directory / "nginx.conf"
        text = place(configuration(), where, {server.name: server.address for server in self.servers})
        conf.write_text(watched(text, where), encoding="utf-8")
        # Another account may not be able to read the user's Python.
        main = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
        command = ["wsgi_proxy", "-p", f"{directory}/", "-c", str(conf), "-g", main]
        proxy = start(command, requests, log)
        self._stack.callback(stop, proxy)
        end = time.monotonic() + START_DEADLINE
        while not _accepts(host, port):
            if proxy.poll() is not None or time.monotonic() > end:
                raise DemoError("the proxy did not start:\n" + Path(log.name).read_text(errors="replace").rstrip())
            time.sleep(0.02)
        workers = re.search(r"^worker_processes (\d+);", text, re.MULTILINE)
        self.screen.say(
            f"status: http://{where}{STATUS}\n"
            f"proxy: http://{where}  {workers[1] if workers else '?'} workers, process {proxy.pid}, configuration {conf}\n"
            f"Try: curl http://{where}/   Stop: Ctrl-C"
        )
        return proxy

    def _watch(self, proxy: subprocess.Popen[bytes], log_name: str) -> None:
        with open(log_name, encoding="utf-8", errors="replace") as log:
            while True:
                time.sleep(TICK)
                for server in self.servers:
                    server.read()
                if text := log.read().strip():
                    self.screen.say(text)
                self.screen.show(self.servers, time.monotonic())
                if proxy.poll() is not None:
                    raise DemoError(f"the proxy ended with status {proxy.returncode}; its messages are above")


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration until Ctrl-C or SIGTERM, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="wsgi-proxy demo",
        description="Run six echo servers behind the proxy and count the requests at each.",
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS:PORT", type=parse_bind, default=("127.0.0.1", 8080), help="default 127.0.0.1:8080"
    )
    listen = parser.parse_args(argv).bind
    reason = unusable(listen)
    if reason:
        print(
            f"wsgi-proxy demo: {listen[0]}:{listen[1]}: {reason}; choose another address with --bind ADDRESS:PORT",
            file=sys.stderr,
        )
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Demo(listen, Screen(sys.stdout)).run()
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
        return 0
    except DemoError as error:
        print(f"wsgi-proxy demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
