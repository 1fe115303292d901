"""Measurements with sockets of the bench itself: large bodies, idle clients, idle memory, latency, WebSockets."""

from __future__ import annotations

import os
import queue
import socket
import statistics
import threading
import time
from contextlib import ExitStack, suppress

from . import machine, websocket
from .contenders import Running
from .measures import Figures, Turn, spent
from .upstream import MB64, SMALL

_BLOCK = b"x" * (1 << 18)
TIMES = 6
"""Bodies of 64 MB in one measurement."""


def transfer(running: Running, turn: Turn, *, up: bool, tls: bool) -> Figures:
    """Return CPU seconds per GB of six bodies of 64 MB, one after the other, and the PSS added meanwhile, MB."""
    idle = machine.memory(machine.tree(running.pid))
    peak = [idle]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], machine.memory(machine.tree(running.pid)))

    def work() -> float:
        for _ in range(TIMES):
            _exchange(running, up=up, tls=tls)
        return TIMES * MB64 / 1e9

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, cpu, wall = spent(running, work)
    finally:
        done.set()
        watcher.join()
    return {"cpu s/GB": cpu / 1e6, "wall s/GB": wall / 1e6, "added PSS MB": peak[0] - idle}


def _connect(running: Running, tls: bool) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", running.tls_port if tls else running.port), 60)
    if not tls:
        return sock
    try:
        return running.upstreams.client_tls().wrap_socket(sock, server_hostname="localhost")
    except OSError:
        sock.close()
        raise


def _exchange(running: Running, *, up: bool, tls: bool) -> None:
    """Move one body on a new connection. Raise RuntimeError if it does not arrive whole."""
    buffer = bytearray(1 << 18)
    with _connect(running, tls) as sock:
        if up:
            sock.sendall(b"POST /sink HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % MB64)
            for _ in range(MB64 // len(_BLOCK)):
                sock.sendall(_BLOCK)
        else:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        total, head = 0, b""
        while count := sock.recv_into(buffer):
            head = head or bytes(buffer[:count])
            total += count
    if not head.startswith(b"HTTP/1.1 200") or total < (20 if up else MB64):
        raise RuntimeError(f"a response of {total} bytes: {head[:40]!r}")


def relayed(running: Running, turn: Turn) -> Figures:
    """Return CPU µs of a WebSocket message of 125 bytes in one direction, 32 connections."""
    websocket.relay(running.port, turn.warming())
    _, cpu, wall = spent(running, lambda: websocket.relay(running.port, turn.seconds))
    return {"cpu µs/message": cpu, "wall µs/message": wall}


def latency(running: Running, turn: Turn) -> Figures:
    """Return milliseconds from sending to the whole response at 200 requests a second on one kept connection."""
    rate = 200
    taken = []
    with _connect(running, False) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.perf_counter()
        for number in range(int(rate * max(1.0, turn.seconds))):
            pause = start + number / rate - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            began = time.perf_counter()
            sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            _read_small(sock)
            taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return {"p50 ms": statistics.median(taken), "p99 ms": taken[int(len(taken) * 0.99)]}


def _read_small(sock: socket.socket) -> None:
    """Read the response of 36 bytes, with or without chunks."""
    response = b""
    while SMALL not in response or not response.endswith((SMALL, b"0\r\n\r\n")):
        block = sock.recv(65536)
        if not block:
            raise RuntimeError("the connection was closed")
        response += block


def idle_memory(running: Running, turn: Turn) -> Figures:
    """Return the memory of the idle proxy after a few requests, MB."""
    time.sleep(1)
    pids = machine.tree(running.pid)
    return {"PSS MB": machine.memory_alone(pids), "PSS MB beside other processes": machine.memory(pids)}


def idle_clients(running: Running, turn: Turn, *, tls: bool) -> Figures:
    """Return KB of PSS that each idle client adds, kept open after one request. Fewer clients where open files are limited."""
    count = min(turn.clients, machine.raise_file_limit(turn.clients + 512) - 512)
    if count < turn.clients:
        print(f"bench: the limit of open files allows {count} idle clients instead of {turn.clients}", flush=True)
    before = machine.memory(machine.tree(running.pid))
    with ExitStack() as stack:
        _open(running, tls, count, stack)
        time.sleep(1)
        after = machine.memory(machine.tree(running.pid))
    return {"KB/client": (after - before) * 1024 / count, "clients": count}


def _open(running: Running, tls: bool, count: int, stack: ExitStack) -> None:
    """Open `count` connections by eight threads, each after one request. The stack closes them."""
    opened: queue.SimpleQueue[int] = queue.SimpleQueue()
    faults: list[str] = []

    def client(share: int) -> None:
        try:
            for _ in range(share):
                opened.put(_kept(running, tls))
        except (OSError, RuntimeError) as error:
            faults.append(str(error))

    threads = [threading.Thread(target=client, args=(count // 8 + (index < count % 8),)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not opened.empty():
        stack.callback(os.close, opened.get())
    if faults:
        raise RuntimeError(f"an idle client: {faults[0]}")


def _kept(running: Running, tls: bool) -> int:
    """Send a request and return the file descriptor of its open connection; the TLS state of the client is freed."""
    with ExitStack() as stack:
        sock = stack.enter_context(_connect(running, tls))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        _read_small(sock)
        return sock.detach()


def check(running: Running, path: str, *, tls: bool = False, fields: bytes = b"") -> tuple[bytes, bytes]:
    """Return the head and the body of one response."""
    with _connect(running, tls) as sock, suppress(ConnectionResetError):
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n%s\r\n" % (path.encode(), fields))
        response = b""
        while block := sock.recv(65536):
            response += block
    head, _, body = response.partition(b"\r\n\r\n")
    return head, body
