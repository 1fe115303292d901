"""The line ends of an upstream's head: what CGI scripts and appliances send reads here as in nginx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import Recorded, Recorder, Wire, fetch, free_port, run_nginx, run_proxy

HEADS = [
    b"HTTP/1.1 200 OK\nContent-Length: 4\nX-A: 1\n\nbody",
    b"HTTP/1.0 200 OK\nContent-Type: text/plain\n\nto the end",
    b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\n\n\nbody",
    b"HTTP/1.1 200 OK\nContent-Length: 6\n\r\n\r\nbody",
    b"HTTP/1.1 404 Not Found\nContent-Length: 4\n\nbody",
    b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4\r\nbody\r\n0\r\n\r\n",
    b"HTTP/1.1 200\nContent-Length: 4 \n\nbody",
    b"HTTP/1.1 200 OK\nX-A: a\rX-B: b\n\nbody",
]


def answers(run: Any, folder: Path) -> list[tuple[int, bytes, str | None, str | None]]:
    def send(request: Recorded, wire: Wire) -> None:
        wire.send(HEADS[int(request.target[1:])])
        wire.close()

    port = free_port()
    conf = "events {{}} http {{ access_log off; server {{ listen {port}; location / {{ proxy_pass {url}; }} }} }}"
    with Recorder(send) as upstream, run(conf.format(port=port, url=upstream.url), folder):
        found = [fetch(port, f"/{number}") for number in range(len(HEADS))]
    return [(each.status, each.body if each.status != 502 else b"", each.get("X-A"), each.get("X-B")) for each in found]


def test_the_lines_of_a_head(tmp_path: Path) -> None:
    ours = answers(run_proxy, tmp_path)
    assert ours == answers(run_nginx, tmp_path)
    assert [status for status, *_ in ours] == [200, 200, 200, 200, 200, 404, 200, 200, 502]
