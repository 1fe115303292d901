"""The choice of servers in the whole proxy: names that move, active checks, queues, sessions."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_nginx, run_proxy, wait_until
from tests.upstream.test_dns import A, NameServer


def configuration(port: int, upstream: str, location: str = "proxy_pass http://u;", http: str = "", workers: int = 2) -> str:
    return f"""
worker_processes {workers};
events {{ worker_connections 256; }}
error_log stderr warn;
http {{
    access_log off;
    {http}
    upstream u {{
        {upstream}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            add_header X-Tries $upstream_addr always;
            {location}
        }}
    }}
}}
"""


@pytest.fixture
def two() -> Iterator[list[Recorder]]:
    """Two servers on one port, each on its own loopback address."""
    first = Recorder(lambda request, wire: reply(b"first"), host="127.0.0.1")
    first.start()
    second = Recorder(lambda request, wire: reply(b"second"), host="127.0.0.2", port=first.port)
    second.start()
    yield [first, second]
    first.stop()
    second.stop()


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.stop()


def test_a_container_that_comes_back_elsewhere_is_found(two: list[Recorder], names: NameServer, tmp_path: Path) -> None:
    names.records["echo.test"] = [(A, 300, bytes([127, 0, 0, 1]))]
    port = free_port()
    text = configuration(port, f"zone u 64k; server echo.test:{two[0].port} resolve;", http=f"resolver {names.address} valid=1s;")
    with run_proxy(text, tmp_path):
        assert fetch(port, "/").body == b"first"
        two[0].stop()
        names.records["echo.test"] = [(A, 300, bytes([127, 0, 0, 2]))]
        wait_until(lambda: fetch(port, "/").body == b"second", "the new address")
        # Both workers know it soon, and no request goes to the old one any more.
        wait_until(lambda: all(fetch(port, "/").status == 200 for _ in range(20)), "both workers")


def test_a_name_made_of_variables_is_asked_of_the_resolver(two: list[Recorder], names: NameServer, tmp_path: Path) -> None:
    names.records["echo.test"] = [(A, 300, bytes([127, 0, 0, 1]))]
    port = free_port()
    text = configuration(
        port, f"server 127.0.0.9:{free_port()};", f"set $name echo.test; proxy_pass http://$name:{two[0].port};",
        f"resolver {names.address} valid=1s;",
    )  # fmt: skip
    with run_proxy(text, tmp_path):
        assert fetch(port, "/").body == b"first"
        names.records["echo.test"] = [(A, 300, bytes([127, 0, 0, 2]))]
        wait_until(lambda: fetch(port, "/").body == b"second", "the new address")


def test_active_checks_take_a_server_out_and_back_in(two: list[Recorder], tmp_path: Path) -> None:
    """A match block reads the server's own report; no request reaches the unhealthy server."""
    sick = threading.Event()

    def second(request: object, wire: object) -> bytes:
        if b"GET /health " in request.raw_head:  # type: ignore[attr-defined]
            return reply(b"sick" if sick.is_set() else b"well", headers=kind)
        return reply(b"second")

    two[1].response = second
    kind = [("X-Kind", "echo")]
    two[0].response = lambda request, wire: reply(b"well" if b"/health" in request.raw_head else b"first", headers=kind)
    port = free_port()
    text = configuration(
        port, f"zone u 64k; server 127.0.0.1:{two[0].port}; server 127.0.0.2:{two[1].port};",
        "proxy_pass http://u; health_check interval=100ms fails=2 passes=2 uri=/health match=well;",
        "match well { status 200-299; header X-Kind = echo; body ~ well; }",
    )  # fmt: skip

    def bodies() -> set[bytes]:
        return {fetch(port, "/").body for _ in range(8)}

    with run_proxy(text, tmp_path) as proxy:
        assert bodies() == {b"first", b"second"}
        sick.set()
        wait_until(lambda: bodies() == {b"first"}, "the sick server to be left out")
        sick.clear()
        wait_until(lambda: bodies() == {b"first", b"second"}, "it to come back")
        # One of the two workers asks.
        before = len([request for request in two[0].requests if request.target == "/health"])
        time.sleep(1)
        asked = len([request for request in two[0].requests if request.target == "/health"]) - before
        assert 4 <= asked <= 11
        assert "peer is unhealthy while checking status" in proxy.log()


def test_requests_wait_for_a_server(two: list[Recorder], tmp_path: Path) -> None:
    held = threading.Event()

    def hold(request: object, wire: object) -> bytes:
        held.wait(30)
        return reply(b"first")

    two[0].response = hold
    port = free_port()
    text = configuration(port, f"zone u 64k; queue 2 timeout=10s; server 127.0.0.1:{two[0].port} max_conns=1;")
    responses: list[int] = []

    def ask() -> None:
        responses.append(fetch(port, "/", timeout=20).status)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    try:
        with run_proxy(text, tmp_path):
            for thread in threads:
                thread.start()
            # One is served, two wait, for two there is no place.
            wait_until(lambda: len(responses) == 2 and two[0].requests, "two refusals, and the one that is served")
            assert responses == [502, 502] and len(two[0].requests) == 1
            held.set()
            for thread in threads:
                thread.join(30)
            assert sorted(responses) == [200, 200, 200, 502, 502] and len(two[0].requests) == 3
    finally:
        held.set()


def test_a_session_stays_with_its_server_as_in_nginx(two: list[Recorder], tmp_path: Path) -> None:
    """Cookie for cookie the same as nginx, with a draining server that keeps its sessions only."""
    # The method's turns continue beside the sessions'.
    cookies: list[list[str]] = []
    servers = f"server 127.0.0.1:{two[0].port}; server 127.0.0.2:{two[1].port} route=two;"
    for run in (run_nginx, run_proxy):
        port = free_port()
        sticky = "zone u 64k; sticky cookie srv expires=max domain=.example.com httponly samesite=lax path=/;"
        with run(configuration(port, f"{sticky} {servers}", workers=1), tmp_path):
            seen = []
            for sent in ["", "srv=two", "a=b; srv=two", "srv=nobody", "", "srv=two", "", "", *["srv=two"] * 3, "", ""]:
                headers = [("Cookie", sent)] if sent else []
                response = fetch(port, "/", headers=headers)
                assert response.status == 200
                seen.append(f"{response.body.decode()} {response.get('Set-Cookie')}")
            sid = re.search("srv=([0-9a-f]{32})", seen[0])
            assert sid
            seen += [fetch(port, "/", headers=[("Cookie", f"srv={sid[1]}")]).body.decode() for _ in range(4)]
            cookies.append(seen)
    assert cookies[0] == cookies[1]
    assert cookies[0][-4:] == ["first"] * 4
    port = free_port()
    draining = servers.replace("route=two", "route=two drain")
    with run_proxy(configuration(port, f"sticky cookie srv; {draining}"), tmp_path):
        assert {fetch(port, "/").body for _ in range(6)} == {b"first"}
        assert {fetch(port, "/", headers=[("Cookie", "srv=two")]).body for _ in range(6)} == {b"second"}


def test_turns_are_taken_together_by_all_workers_with_a_zone(two: list[Recorder], tmp_path: Path) -> None:
    port = free_port()
    servers = f"server 127.0.0.1:{two[0].port} weight=3; server 127.0.0.2:{two[1].port};"
    with run_proxy(configuration(port, f"zone u 64k; {servers}", workers=3), tmp_path):
        sequence = ""
        for _ in range(40):
            # A connection each, so that the workers take them as they like.
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request("GET", "/", headers={"Connection": "close"})
            sequence += connection.getresponse().read().decode()[0]
            connection.close()
        assert sequence == "ffsf" * 10
