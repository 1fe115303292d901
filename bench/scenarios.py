"""What is measured. Each scenario gives, for one contender, a dictionary of figures; lower is better in all of them."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from . import machine

Figures = dict[str, float]


def wrk(pid: int, url: str, seconds: float, connections: int = 32) -> Figures:
    """CPU µs per request, and requests per second the other way round (µs of wall time per request)."""
    command = ["wrk", "-t1", f"-c{connections}", url]
    subprocess.run([*command, "-d1s"], capture_output=True, check=True)
    pids = machine.tree(pid)
    before = machine.cpu(pids)
    output = subprocess.run([*command, f"-d{seconds:g}s"], capture_output=True, text=True, check=True).stdout
    spent = machine.cpu(pids) - before
    count = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if failed or count == 0:
        raise RuntimeError(f"{url}: {failed[1] if failed else 'all'} answers were not 2xx")
    return {"cpu µs/request": spent / count * 1e6, "wall µs/request": seconds / count * 1e6}


def transfer(pid: int, port: int, request: bytes, body: bytes, times: int, size: int, parallel: int = 1) -> Figures:
    """CPU seconds per GB, and the PSS that was added while bodies moved, MB."""
    pids = machine.tree(pid)
    idle = machine.memory(pids)
    peak = [idle]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], machine.memory(machine.tree(pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = machine.cpu(pids)
    try:
        for _ in range(times):
            _exchange(port, request, body, size)
    finally:
        done.set()
        watcher.join()
    spent = machine.cpu(pids) - before
    return {"cpu s/GB": spent / (times * size / 1e9), "added PSS MB": peak[0] - idle}


def _exchange(port: int, request: bytes, body: bytes, size: int) -> None:
    """One request on a connection of its own; reads the answer to its end."""
    buffer = bytearray(1 << 18)
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(request)
        sent = 0
        while body and sent < size:
            sock.sendall(body[: size - sent])
            sent += min(len(body), size - sent)
        total = 0
        while count := sock.recv_into(buffer):
            total += count
    if total < (100 if body else size):
        raise RuntimeError(f"an answer of {total} bytes where {size} were expected")


def latency(port: int, rate: int, seconds: float) -> Figures:
    """Milliseconds from sending to the whole answer at a fixed rate on one kept connection: p50 and p99."""
    request = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
    taken = []
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            pause = start + number / rate - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            began = time.perf_counter()
            sock.sendall(request)
            response = b""
            while not response.endswith(b"123456"):
                block = sock.recv(65536)
                if not block:
                    raise RuntimeError("the connection was closed")
                response += block
            taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return {"p50 ms": statistics.median(taken), "p99 ms": taken[int(len(taken) * 0.99)]}


def idle_memory(pid: int) -> Figures:
    time.sleep(1)
    return {"PSS MB": machine.memory(machine.tree(pid))}


def idle_clients(pid: int, port: int, count: int) -> Figures:
    """KB of PSS that each idle kept-alive client adds."""
    request = b"GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n"
    before = machine.memory(machine.tree(pid))
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sock.sendall(request)
            if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("an idle client got no 200")
        time.sleep(0.5)
        after = machine.memory(machine.tree(pid))
    return {"KB/client": (after - before) * 1024 / count}


Measure = Callable[[int, int, float], Figures]
"""(pid, port, seconds) → figures."""

MB64 = 64 * 1024 * 1024
_BLOCK = b"x" * (1 << 18)


def download(pid: int, port: int, seconds: float) -> Figures:
    request = b"GET /big HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    return transfer(pid, port, request, b"", 6, MB64)


def upload(pid: int, port: int, seconds: float) -> Figures:
    request = b"POST /sink HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % MB64
    return transfer(pid, port, request, _BLOCK, 6, MB64)


SCENARIOS: dict[str, tuple[str, Measure]] = {
    "forward": ("forward a 36-byte answer", lambda pid, port, s: wrk(pid, f"http://127.0.0.1:{port}/", s)),
    "hello": ('return 200 "hello"', lambda pid, port, s: wrk(pid, f"http://127.0.0.1:{port}/hello", s)),
    "cached": ("a 36-byte hit of the cache", lambda pid, port, s: wrk(pid, f"http://127.0.0.1:{port}/cached/small", s)),
    "cached-1m": ("a 1 MB hit of the cache", lambda pid, port, s: wrk(pid, f"http://127.0.0.1:{port}/cached/1m", s)),
    "download": ("64 MB answer", download),
    "upload": ("64 MB upload", upload),
    "latency": ("200 requests a second", lambda pid, port, s: latency(port, 200, s)),
    "memory": ("the whole proxy, idle", lambda pid, port, s: idle_memory(pid)),
    "clients": ("2,000 idle kept-alive clients", lambda pid, port, s: idle_clients(pid, port, 2000)),
}
"""Name → (what it is, how it is measured). `peers` take part in `forward` only."""
