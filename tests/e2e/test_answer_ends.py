"""The end of a response: `add_trailer` and `chunked_transfer_encoding`, beside nginx."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Response,
    Running,
    Wire,
    chunked,
    fetch,
    free_port,
    reply,
    run_nginx,
    run_proxy,
)

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location /plain/ {{ proxy_pass http://echo; }}
        location /trailers/ {{
            proxy_pass http://echo;
            add_trailer X-Upstream "$upstream_status $request_method";
            add_trailer X-Empty $arg_none;
            add_trailer X-Always $status always;
        }}
        location /unchunked/ {{ proxy_pass http://echo; chunked_transfer_encoding off; add_trailer X-T 1 always; }}
        location /files/ {{ add_trailer X-T $uri; }}
        location /returned/ {{ add_trailer X-T 1; return 200 body; }}
        location ~ ^/injected/(.*) {{ proxy_pass http://echo; add_trailer X-T $1; }}
        location /redirected/ {{ add_trailer X-T 1; return 302 /plain/; }}
        location /empty/ {{ add_trailer X-T 1; return 200 ""; }}
    }}
}}
"""

REQUESTS = [
    (path, method, version)
    for path in (
        "/plain/length", "/plain/chunks", "/trailers/length", "/trailers/chunks", "/trailers/404", "/trailers/204",
        "/unchunked/chunks", "/unchunked/length", "/files/a.txt", "/files/none", "/returned/", "/redirected/", "/empty/",
    )
    for method in ("GET", "HEAD")
    for version in ("HTTP/1.1", "HTTP/1.0")
]  # fmt: skip


def response(request: Recorded, wire: Wire) -> bytes:
    if "chunks" in request.target and request.method != "HEAD":
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello ", b"world")
    if "204" in request.target:
        return reply(b"", 204, length=None)
    body = b"hello world"
    return reply(b"" if request.method == "HEAD" else body, 404 if "404" in request.target else 200, length=len(body))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running]]:
    """(the proxy, nginx) with the same configuration."""
    folder: Path = tmp_path_factory.mktemp("ends")
    (folder / "files").mkdir()
    (folder / "files" / "a.txt").write_text("a file\n" * 100)
    with Recorder(response) as upstream:
        ours, theirs = (CONFIGURATION.format(address=upstream.address, port=free_port(), root=folder) for _ in range(2))
        with run_proxy(ours, folder) as proxy, run_nginx(theirs, folder) as nginx:
            yield proxy, nginx


def ask(server: Running, path: str, method: str, version: str) -> tuple[Response, bool]:
    """Return the response, and True if the connection stays open."""
    with Client(server.port) as client:
        client.send(f"{method} {path} {version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".encode())
        got = client.read_response(method)
        return got, (got.get("Connection") or "").lower() == "keep-alive"


@pytest.mark.parametrize(("path", "method", "version"), REQUESTS)
def test_ends_as_nginx_tells_them(both: tuple[Running, Running], path: str, method: str, version: str) -> None:
    (ours, kept), (theirs, theirs_kept) = (ask(server, path, method, version) for server in both)
    assert ours.status == theirs.status
    if ours.status not in (302, 404):
        assert ours.body == theirs.body
    if os.environ.get("WORKER_CLASS") and not path.startswith("/plain/"):
        return  # the server decides how the response ends
    if ours.status != 302 and "none" not in path:
        assert ours.get("Content-Length") == theirs.get("Content-Length")
    assert ours.get("Transfer-Encoding") == theirs.get("Transfer-Encoding")
    assert ours.trailers == theirs.trailers
    assert kept == theirs_kept


@pytest.mark.ours_alone("trailers")
def test_a_variable_cannot_end_the_answer(both: tuple[Running, Running]) -> None:
    got, kept = ask(both[0], "/injected/a%0d%0aX-Evil:%201", "GET", "HTTP/1.1")
    # A line break in a value is a space, and the last one is cut.
    assert (got.status, got.trailers, kept) == (200, [("X-T", "a")], True)
    assert ask(both[0], "/injected/a", "GET", "HTTP/1.1")[0].trailers == [("X-T", "a")]


@pytest.mark.ours_alone("gunicorn's own workers send no trailers")
def test_trailers_of_the_upstream_are_passed_as_by_nginx(tmp_path: Path) -> None:
    def upstream(request: Recorded, wire: Wire) -> bytes:
        return reply(headers=[("Transfer-Encoding", "chunked")], length=None) + chunked(b"body", trailers=[("X-T", "1")])

    told = []
    for run in (run_nginx, run_proxy):
        port = free_port()
        with Recorder(upstream) as up:
            text = f"""events {{}} http {{ access_log off; proxy_http_version 1.1; server {{ listen {port};
                location /on {{ proxy_pass_trailers on; proxy_pass {up.url}; }}
                location /off {{ proxy_pass_trailers off; proxy_pass {up.url}; }}
                location /added {{ proxy_pass_trailers off; add_trailer X-Added 2; proxy_pass {up.url}; }} }} }}"""
            with run(text, tmp_path):
                told.append([(found.trailers, found.body) for found in (fetch(port, path) for path in ("/on", "/off", "/added"))])
    assert told[0] == told[1] == [([("X-T", "1")], b"body"), ([], b"body"), ([("X-Added", "2")], b"body")]
