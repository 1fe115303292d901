"""`keyval` in whole proxies: changed over HTTP, known to all workers and machines, kept over reloads and restarts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import Running, fetch, free_port, run_proxy, wait_until
from tests.support.redis import KINDS, RedisServer

CONF = """
worker_processes 2;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    {cluster}
    keyval_zone zone=blocked:64k type=ip {zone};
    keyval $arg_address $blocked zone=blocked;
    server {{
        listen {port};
        location / {{ return 200 "[$blocked]"; }}
        location /api/ {{ wsgi_proxy_status page write; allow 127.0.0.1; deny all; }}
        location /read/ {{ wsgi_proxy_status json; }}
        location /denied/ {{ wsgi_proxy_status page write; allow 192.0.2.1; deny all; }}
    }}
}}
"""
PAIRS = "/api/9/http/keyvals/blocked"


def ask(port: int, method: str, body: Any = None, path: str = PAIRS, fields: Any = ()) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    response = fetch(port, path, method, headers=[*fields, ("Content-Length", str(len(data)))], body=data)
    return response.status, json.loads(response.body) if response.body else None


def values(port: int, address: str = "10.1.2.3") -> set[bytes]:
    """The answers of many requests, so that both workers have given some."""
    return {fetch(port, f"/?address={address}").body for _ in range(20)}


def test_pairs_change_for_all_workers_and_outlive_reload_and_restart(tmp_path: Path) -> None:
    port = free_port()
    text = CONF.format(cluster="", zone=f"state={tmp_path}/state.json", port=port)
    with run_proxy(text, tmp_path) as server:
        assert values(port) == {b"[]"}
        assert ask(port, "POST", {"10.0.0.0/8": "net"}) == (201, None)
        assert values(port) == {b"[net]"}
        assert ask(port, "POST", {"10.0.0.0/8": "net"})[0] == 409
        assert ask(port, "PATCH", {"10.0.0.0/8": "changed"}) == (204, None)
        assert values(port) == {b"[changed]"} and values(port, "11.1.1.1") == {b"[]"}
        assert ask(port, "GET", path="/read/http/keyvals/") == (200, {"blocked": {"10.0.0.0/8": "changed"}})
        assert 'keyval zone "blocked": changed ["10.0.0.0/8"], client: 127.0.0.1' in server.log()
        shown = json.loads(fetch(port, "/read/").body)["keyvals"]
        assert shown == {"blocked": {"pairs": 1, "shared": False, "pending": 0}}
        (tmp_path / "proxy" / "nginx.conf").write_text(text.replace("[$blocked]", "<$blocked>"))
        server.signal(signal.SIGHUP)
        wait_until(lambda: values(port) == {b"<changed>"})
    with run_proxy(text, tmp_path):
        assert values(port) == {b"[changed]"}
        assert ask(port, "DELETE") == (204, None)
        assert values(port) == {b"[]"}
    assert json.loads((tmp_path / "state.json").read_text()) == {}


def test_another_site_cannot_change_pairs(tmp_path: Path) -> None:
    port = free_port()
    with run_proxy(CONF.format(cluster="", zone="", port=port), tmp_path):
        pair = {"10.0.0.1": "x"}
        for field in (
            ("Origin", "http://evil"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Referer", "http://evil/"),
            ("X-CSRF-Token", "0"),
        ):
            assert ask(port, "POST", pair, fields=[field])[0] == 403
        assert ask(port, "POST", pair, "/read/http/keyvals/blocked")[0] == 405
        assert fetch(port, "/denied/http/keyvals/blocked", "POST", headers=[("Content-Length", "0")]).status == 403
        assert ask(port, "GET") == (200, {})
        token = fetch(port, "/api/").body.decode().partition('name="token" content="')[2][:64]
        right = [("X-CSRF-Token", token), ("Origin", f"http://127.0.0.1:{port}"), ("Sec-Fetch-Site", "same-origin")]
        assert ask(port, "POST", pair, fields=right) == (201, None)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[list[int], list[Running], RedisServer]]:
    with RedisServer(tmp_path, request.param) as redis, ExitStack() as stack:
        ports = [free_port() for _ in range(3)]
        servers = []
        for number, port in enumerate(ports):
            cluster = f"wsgi_proxy_cluster {redis.url} name=test timeout=2s;"
            text = CONF.format(cluster=cluster, zone="sync timeout=1h", port=port)
            servers.append(stack.enter_context(run_proxy(text, tmp_path / str(number))))
        yield ports, servers, redis


def test_pairs_are_shared_by_machines(place: tuple[list[int], list[Running], RedisServer]) -> None:
    ports, _, redis = place
    assert ask(ports[0], "POST", {"10.1.2.3": "one"}) == (201, None)
    wait_until(lambda: all(values(port) == {b"[one]"} for port in ports))
    assert ask(ports[1], "PATCH", {"10.1.2.3": "two"}) == (204, None)
    wait_until(lambda: all(values(port) == {b"[two]"} for port in ports))
    assert ask(ports[2], "DELETE") == (204, None)
    wait_until(lambda: all(values(port) == {b"[]"} for port in ports))
    # Redis is away, and comes back empty.
    assert ask(ports[0], "POST", {"10.1.2.3": "kept"}) == (201, None)
    wait_until(lambda: all(values(port) == {b"[kept]"} for port in ports))
    redis.process.kill()
    redis.process.wait(30)
    assert ask(ports[1], "POST", {"10.9.9.9": "alone"}) == (201, None)
    assert values(ports[1], "10.9.9.9") == {b"[alone]"}
    redis.socket.unlink(missing_ok=True)
    redis.start()
    wait_until(lambda: all(values(port, "10.9.9.9") == {b"[alone]"} and values(port) == {b"[kept]"} for port in ports))


def test_a_killed_worker_gives_the_lead_to_another(place: tuple[list[int], list[Running], RedisServer]) -> None:
    ports, servers, _ = place
    state = json.loads(fetch(ports[0], "/read/").body)
    for worker in state["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    wait_until(lambda: ask(ports[0], "GET") == (200, {}))
    assert ask(ports[1], "POST", {"10.1.2.3": "new"}) == (201, None)
    wait_until(lambda: values(ports[0]) == {b"[new]"})
