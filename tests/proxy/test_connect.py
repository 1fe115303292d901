"""CONNECT through the whole proxy: the server, the status and the counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import (
    Address,
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_nginx,
    run_proxy,
    send_raw,
    wait_until,
)


def configuration(port: int, live: str, other: str, dead: int) -> str:
    return f"""
error_log stderr info;
events {{ }}
http {{
    log_format tunnels '$request_method $status $upstream_addr $upstream_status $body_bytes_sent';
    access_log access.log tunnels;
    upstream two {{ server 127.0.0.1:{dead}; server {live}; }}
    upstream one {{ server {other} max_conns=1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($host = two) {{ tunnel_pass two; }}
            if ($host = dead) {{ tunnel_pass 127.0.0.1:{dead}; }}
            if ($host = once) {{ tunnel_pass one; }}

        }}
    }}
    server {{ listen 127.0.0.1:{port + 1}; location / {{ tunnel_pass two; tunnel_next_upstream off; }} }}
    server {{ listen 127.0.0.1:{port + 2}; location / {{ proxy_pass http://{live}; }} }}
}}
"""


def ports() -> int:
    """The first of three ports in a row."""
    return free_port()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[tuple[Running, int]], Recorder, Recorder]]:
    """[(nginx, its first port), (ours, its first port)] and the upstreams behind them."""
    folder = tmp_path_factory.mktemp("connect")

    def name(request: Recorded, wire: Wire) -> bytes:
        return reply(request.target.encode())

    with Recorder(name) as live, Recorder(name) as other:
        firsts = [ports(), ports()]
        texts = [configuration(first, live.address, other.address, free_port()) for first in firsts]
        with run_nginx(texts[0], folder) as nginx, run_proxy(texts[1], folder) as ours:
            yield [(nginx, firsts[0]), (ours, firsts[1])], live, other


def connect(authority: str, rest: bytes = b"") -> bytes:
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode() + rest


def status(port: Address, authority: str) -> int:
    """The status of a CONNECT; a tunnel is given up at once."""
    with Client(port) as client:
        client.send(connect(authority))
        return client.read_response("CONNECT").status


def test_the_next_server_is_tried(servers: tuple[list[tuple[Running, int]], Recorder, Recorder]) -> None:
    for server, first in servers[0]:
        inner = request_bytes("/inner", close=True)
        response = send_raw(first, connect("two:443", inner))
        assert response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"/inner"), server.command
        assert status(first, "two:443") == 200


def test_who_cannot_be_reached(servers: tuple[list[tuple[Running, int]], Recorder, Recorder]) -> None:
    assert [status(first, "dead:443") for _, first in servers[0]] == [502, 502]
    # One of the two servers is dead, and the other is not tried: the same answers as nginx gives.
    responses = [sorted(status(first + 1, "x:443") for _ in range(2)) for _, first in servers[0]]
    assert responses[0] == responses[1]


def test_other_methods_and_other_places(servers: tuple[list[tuple[Running, int]], Recorder, Recorder]) -> None:
    for _, first in servers[0]:
        assert fetch(first + 1).status == 405
        assert fetch(first).status == 404
        refused = send_raw(first + 2, connect("a:443", request_bytes("/smuggled")))
        assert refused.startswith(b"HTTP/1.1 405 ") and b"smuggled" not in refused
    assert not [request for request in servers[1].requests if request.target == "/smuggled"]


@pytest.mark.parametrize(
    "request_line",
    ["CONNECT two HTTP/1.1", "CONNECT /two HTTP/1.1", "CONNECT http://two:443/ HTTP/1.1", "CONNECT two:0x1 HTTP/1.1"],
)
def test_what_is_no_authority(servers: tuple[list[tuple[Running, int]], Recorder, Recorder], request_line: str) -> None:
    _, first = servers[0][1]
    assert send_raw(first, f"{request_line}\r\nHost: two:443\r\n\r\n".encode()).startswith(b"HTTP/1.1 400 ")


def test_a_tunnel_counts_as_a_connection_while_it_lasts(servers: tuple[list[tuple[Running, int]], Recorder, Recorder]) -> None:
    for server, first in servers[0]:
        with Client(first) as client:
            client.send(connect("once:443"))
            assert client.read_response("CONNECT").status == 200
            client.send(request_bytes("/counted"))
            assert client.read_response().text == "/counted"
            assert status(first, "once:443") == 502, "max_conns=1"
        wait_until(lambda first=first: status(first, "once:443") == 200, "the tunnel's end")  # type: ignore[misc]
        log = server.folder / "access.log"
        wait_until(lambda log=log: "CONNECT 200 " in log.read_text(), "the line in the access log")  # type: ignore[misc]
        # Without a server that may be tried, $upstream_addr names the upstream.
        wait_until(lambda log=log: "CONNECT 502 one 502 " in log.read_text(), "the refused one in the access log")  # type: ignore[misc]
