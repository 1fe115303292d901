"""Machines of the cluster as whole proxies, each with two workers, and the same questions by HTTP."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..machine import free_port

TRIALS = 10
_DEADLINE = 60.0
_CONF = """
worker_processes 2; daemon off; error_log stderr crit;
events {{ }}
http {{
    access_log off;
    wsgi_proxy_cluster {url} name=whole timeout={timeout:.0f}ms;
    limit_req_zone $arg_key zone=z:1m rate={rate}r/s sync;
    keyval_zone zone=k:1m sync;
    keyval $arg_key $value zone=k;
    {upstreams}
    server {{
        listen 127.0.0.1:{port};
        location = /limited {{ root {folder}; limit_req zone=z burst={burst} nodelay; }}
        location = /value {{ return 200 "$value"; }}
        location = /live {{ return 200 "live"; }}
        {locations}
        location /api/ {{ wsgi_proxy_status page write; allow 127.0.0.1; deny all; }}
        location = /status {{ wsgi_proxy_status json; }}
    }}
}}
"""


class Proxies:
    """The running proxies by their ports."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports

    def limit(self, seconds: float, offered: int) -> tuple[int, int, int]:
        """Send requests at a steady rate to all. Return the numbers of admitted, refused and other responses."""
        counts: dict[int, int] = {}
        start = time.monotonic() + 0.2
        interval = 4 * len(self.ports) / offered

        def client(port: int, offset: float) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            at = start + offset
            while at < start + seconds:
                time.sleep(max(0.0, at - time.monotonic()))
                status = _get(connection, "/limited?key=k")[0]
                counts[status] = counts.get(status, 0) + 1
                at += interval

        _together([lambda port=port, n=n: client(port, n * interval / 4) for port in self.ports for n in range(4)])
        return counts.pop(200, 0), counts.pop(503, 0), sum(counts.values())

    def news_of_a_pair(self, trial: int) -> list[float]:
        """Add a pair at one proxy. Return the seconds until each other one has it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=60)
        began = time.monotonic()
        connection.request("POST", "/api/http/keyvals/k", json.dumps({f"k{trial}": "v"}))
        assert connection.getresponse().read() == b""
        return self._seen(began, f"/value?key=k{trial}", lambda body: body == b"v")

    def news_of_a_dead_server(self, trial: int) -> list[float]:
        """Let a request meet a dead server at one proxy. Return the seconds until it is out at each other one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=60)
        _get(connection, f"/u{trial}/")
        _get(connection, f"/u{trial}/")
        began = time.monotonic()
        return self._seen(began, "/status", lambda body: json.loads(body)["upstreams"][f"u{trial}"][0]["state"] == "unavail")

    def _seen(self, began: float, target: str, condition: Callable[[bytes], bool]) -> list[float]:
        found: list[float] = []

        def wait(port: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while not condition(_get(connection, target)[1]):
                if time.monotonic() > began + _DEADLINE:
                    raise TimeoutError("the news did not come")
                time.sleep(0.02)
            found.append(time.monotonic() - began)

        _together([lambda port=port: wait(port) for port in self.ports[1:]])
        return found


def _get(connection: http.client.HTTPConnection, target: str) -> tuple[int, bytes]:
    connection.request("GET", target)
    response = connection.getresponse()
    return response.status, response.read()


def _together(steps: list[Any]) -> None:
    threads = [threading.Thread(target=step) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def proxies(url: str, count: int, folder: Path, timeout: float, rate: int, burst: int) -> Iterator[Proxies]:
    """Start whole proxies, which know each other when they are given."""
    (folder / "limited").write_text("x")
    ports = [free_port() for _ in range(count)]
    names = range(TRIALS)
    with ExitStack() as stack:
        for port in ports:
            place = folder / str(port)
            (place / "logs").mkdir(parents=True)
            dead = "server 127.0.0.1:1 max_fails=1 fail_timeout=600"
            upstreams = " ".join(f"upstream u{n} {{ zone u{n} 64k sync; {dead}; server 127.0.0.1:{port}; }}" for n in names)
            locations = " ".join(f"location = /u{n}/ {{ proxy_pass http://u{n}/live; }}" for n in names)
            settings = {"timeout": timeout * 1000, "rate": rate, "burst": burst, "upstreams": upstreams, "locations": locations}
            (place / "nginx.conf").write_text(_CONF.format(url=url, port=port, folder=folder, **settings))
            command = [sys.executable, "-m", "wsgi_proxy", "-p", f"{place}/", "-c", str(place / "nginx.conf")]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        made = Proxies(ports)
        end = time.monotonic() + _DEADLINE
        while not all(_knows(port, count) for port in ports):
            if time.monotonic() > end:
                raise TimeoutError("the proxies did not find each other")
            time.sleep(0.2)
        yield made


def _knows(port: int, count: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        return len(json.loads(_get(connection, "/status")[1])["cluster"]["machines"]) == count
    except OSError:
        return False
