"""Measurements of one contender: each returns a dictionary of figures, of which lower is better.

Rules:
- The CPU time of the contender's processes is read before and after; the load generator counts the requests.
- A response other than the expected one raises RuntimeError.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import ssl
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .contenders import Running
from .upstream import SMALL

Figures = dict[str, float]
CPU, WALL = "cpu µs/request", "wall µs/request"
HEADS = Path(__file__).parent / "heads.lua"
VARIED = 4000
"""Different requests in heads.lua."""


@dataclass(frozen=True)
class Turn:
    """The limits of one measurement."""

    seconds: float
    first: bool
    """The first measurement of this scenario and contender: longer warming up."""
    folder: Path
    """A folder for files of the load generators."""
    clients: int = 10_000
    requests: int = 100_000

    def warming(self) -> float:
        return 0.7 if self.first else 0.1


Measure = Callable[[Running, Turn], Figures]


def spent(running: Running, work: Callable[[], float]) -> tuple[float, float, float]:
    """Run `work`, which returns a number of requests; return that number, and CPU and wall µs of each request."""
    pids = machine.tree(running.pid)
    before, began = machine.cpu(pids), time.perf_counter()
    count = work()
    wall = time.perf_counter() - began
    cpu = machine.cpu(pids) - before
    if count <= 0:
        raise RuntimeError("no request succeeded")
    return count, cpu / count * 1e6, wall / count * 1e6


def wrk(
    running: Running,
    turn: Turn,
    path: str = "/",
    *,
    tls: bool = False,
    heads: str | None = None,
    fields: tuple[str, ...] = (),
) -> Figures:
    """Send requests over 32 kept connections: one head repeated, or those of heads.lua, whose paths begin with `heads`."""
    port = running.tls_port if tls else running.port
    command = ["wrk", "-t1", "-c32"]
    for field in fields:
        command += ["-H", field]
    if heads is not None:
        command += ["-s", str(HEADS)]
    target = [f"http{'s' if tls else ''}://127.0.0.1:{port}{path}", *(["--", heads] if heads else [])]

    def run(seconds: float) -> int:
        # wrk knows whole seconds only: it is stopped by SIGINT, at which it reports like at its end.
        process = subprocess.Popen(
            [*command, "-d60s", *target],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OPENSSL_CONF": str(openssl_conf(turn.folder))},
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(2)
        return _wrk_count(process.communicate()[0])

    run(turn.warming())
    _, cpu, wall = spent(running, lambda: run(turn.seconds))
    return {CPU: cpu, WALL: wall}


def _wrk_count(output: str) -> int:
    """Return the number of requests of wrk's report. Raise RuntimeError if responses were not 2xx or connections failed."""
    found = re.search(r"(\d+) requests in", output)
    if not found:
        raise RuntimeError(f"wrk: {output.strip()[-200:]}")
    count = int(found[1])
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    if failed or (errors and sum(map(int, errors.groups())) > count / 100):
        raise RuntimeError(f"wrk: of {count} responses {(failed or errors)[0]}")  # type: ignore[index]
    return count


def openssl_conf(folder: Path) -> Path:
    """Return the configuration of OpenSSL for wrk, which has no option for the protocol: TLS 1.3 with X25519."""
    path = folder / "openssl.cnf"
    if not path.exists():
        path.write_text(
            "openssl_conf = main\n[main]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n"
            "[tls]\nMinProtocol = TLSv1.3\nMaxProtocol = TLSv1.3\nGroups = X25519\n"
        )
    return path


def cached(running: Running, turn: Turn) -> Figures:
    """Hits of the cache with 4,000 different URLs and heads. Raise RuntimeError if more than 1 % reach the servers."""
    if turn.first:
        _fill(running)
    fetches = running.upstreams.fetches
    before = fetches()
    figures = wrk(running, turn, heads="/cached")
    missed, requests = fetches() - before, turn.seconds * 1e6 / figures[WALL]
    if missed > requests / 100:
        raise RuntimeError(f"of about {requests:.0f} requests {missed} were no hits of the cache")
    return figures


def _fill(running: Running) -> None:
    """Request each of the URLs, so that the cache holds all."""
    with socket.create_connection(("127.0.0.1", running.port), 30) as sock, sock.makefile("rb") as reader:
        for number in range(1, VARIED + 1):
            target = f"/cached/item/{number}?ref={number * 7 % 1000}"
            sock.sendall(f"GET {target} HTTP/1.1\r\nHost: shop.example.test\r\n\r\n".encode())
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            if reader.read(length) != SMALL:
                raise RuntimeError(f"{target}: not the expected response")


def h2load(running: Running, turn: Turn) -> Figures:
    """HTTP/2 over TLS: 4,000 paths with the fields of a browser, 10 streams on each of 8 connections."""
    run = _h2load(running, turn, "-c8", "-m10")
    run(f"-D{turn.warming() * 1000:.0f}ms")
    _, cpu, wall = spent(running, lambda: run(f"-D{turn.seconds * 1000:.0f}ms"))
    return {CPU: cpu, WALL: wall}


def http2_growth(running: Running, turn: Turn) -> Figures:
    """MB of PSS that HTTP/2 requests on 1,000 connections, which stay open, add for each million of them.

    It is the median of what each tenth of the time adds, without the first two and the last: a leak adds memory in every part.
    """
    run = _h2load(running, turn, "-c1000", "-m1")
    began = time.perf_counter()
    rate = run(f"-n{turn.requests // 10}") / (time.perf_counter() - began)
    seconds = max(2.0, min(30.0, turn.requests / rate))
    after: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds / 10):
            after.append(machine.memory(machine.tree(running.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        count = run(f"-D{seconds * 1000:.0f}ms")
    finally:
        ended.set()
        watcher.join()
    parts = [later - earlier for earlier, later in itertools.pairwise(after[1:9])]
    return {"MB/1,000,000 requests": statistics.median(parts) / (count / 10) * 1e6, "added MB": sum(parts), "requests": count}


def _h2load(running: Running, turn: Turn, *options: str) -> Callable[[str], int]:
    """Return a function that runs h2load with a limit and returns the number of 2xx responses."""
    targets = turn.folder / f"paths-{running.tls_port}"
    lines = [f"https://127.0.0.1:{running.tls_port}/item/{n}?ref={n * 7 % 1000}\n" for n in range(1, VARIED + 1)]
    targets.write_text("".join(lines))
    command = ["h2load", "-t1", *options, "--groups=X25519", f"--input-file={targets}"]
    for field in BROWSER:
        command += ["-H", field]

    def run(limit: str) -> int:
        done = subprocess.run([*command, limit], stdout=subprocess.PIPE, text=True, timeout=600, check=False)
        return _h2load_count(done.stdout)

    return run


def _h2load_count(output: str) -> int:
    """Return the number of 2xx responses of h2load's report. Raise RuntimeError for others, HTTP/1.1 or an older TLS."""
    counts = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    if not counts or "Application protocol: h2" not in output or "TLSv1.3" not in output:
        raise RuntimeError(f"h2load: {output.strip()[-300:]}")
    if any(map(int, counts.groups()[1:])) or (failed and any(map(int, failed.groups()))):
        raise RuntimeError(f"h2load: {counts[0]}; {failed and failed[0]}")
    return int(counts[1])


BROWSER = (
    "user-agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-language: en-US,en;q=0.9",
    "accept-encoding: gzip, deflate, br, zstd",
    "referer: https://shop.example.test/list?page=7",
    "cookie: session=5f3a9c1e77b20d44; theme=dark; _ga=GA1.2.48213377",
    "upgrade-insecure-requests: 1",
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: same-origin",
)


def handshakes(running: Running, turn: Turn, *, resume: bool) -> Figures:
    """A TLS connection for each request, eight at a time, with or without a session of an earlier connection."""
    context = running.upstreams.client_tls()

    def run(seconds: float) -> int:
        until = time.monotonic() + seconds
        clients = [_Client(running.tls_port, context, resume, until) for _ in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        for client in clients:
            if client.fault:
                raise RuntimeError(client.fault)
        done, resumed = sum(client.done for client in clients), sum(client.resumed for client in clients)
        expected = done if resume else 0
        if abs(resumed - expected) > 0.05 * done + len(clients):
            raise RuntimeError(f"of {done} handshakes {resumed} resumed a session, expected {expected}")
        return done

    run(turn.warming())
    _, cpu, wall = spent(running, lambda: run(turn.seconds))
    return {CPU: cpu, WALL: wall}


class _Client(threading.Thread):
    """Opens TLS connections, each for one request, until a time."""

    def __init__(self, port: int, context: ssl.SSLContext, resume: bool, until: float) -> None:
        super().__init__()
        self.port, self.context, self.resume, self.until = port, context, resume, until
        self.done = self.resumed = 0
        self.fault = ""

    def run(self) -> None:
        session: ssl.SSLSession | None = None
        try:
            while time.monotonic() < self.until:
                session = self.exchange(session)
        except OSError as error:
            self.fault = f"a handshake or its request failed: {error}"

    def exchange(self, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        """Send one request; return the session for the next connection."""
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost", session=session) as sock,
        ):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = b""
            while block := sock.recv(65536):
                response += block
            if not response.startswith(b"HTTP/1.1 200"):
                raise OSError(f"response {response[:40]!r}")
            self.done += 1
            self.resumed += bool(sock.session_reused)
            return sock.session if self.resume else None
