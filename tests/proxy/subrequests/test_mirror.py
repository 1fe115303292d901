"""`mirror`: the copies of a request, compared with nginx's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import (
    Recorded,
    Recorder,
    Response,
    Wire,
    free_port,
    parse_response,
    reply,
    run_nginx,
    run_proxy,
    send_raw,
    wait_until,
)
from wsgi_proxy.proxy.subrequests.mirror import _Shared

FRAMING = ["length", "chunked"]


def conf(port: int, main: Recorder, copy: Recorder, dead: int, folder: Path) -> str:
    return f"""
error_log stderr info;
events {{}}
http {{
    access_log off; client_body_buffer_size 16k; client_body_temp_path {folder}/body; client_max_body_size 0;
    server {{
        listen {port};
        set $v outer;
        location / {{ mirror /copy; proxy_pass {main.url}; }}
        location /two {{ mirror /copy; mirror /copy/2; proxy_pass {main.url}; }}
        location /dead {{ mirror /to-dead; mirror /none; proxy_pass {main.url}; }}
        location /off {{ mirror off; proxy_pass {main.url}; }}
        location /bodiless {{ mirror /headonly; mirror_request_body off; proxy_pass {main.url}; }}
        location /file {{ mirror /copy; try_files /none /next; }}
        location /next {{ return 200 "next"; }}
        location /static {{ mirror /copy; root {folder}/root; }}
        location /returned {{ mirror /copy; return 204; }}
        location /denied {{ mirror /copy; deny all; }}
        location /held {{ mirror /copy?held; proxy_pass {main.url}; }}
        location /copy {{
            internal; mirror /copy/never;
            proxy_set_header X-Request "$request_uri $uri $args $v $request_method";
            proxy_set_header X-Inner $content_length;
            proxy_pass {copy.url};
        }}
        location /headonly {{
            proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass {copy.url}$request_uri;
        }}
        location /none {{ root {folder}/root; }}
        location /to-dead {{ proxy_pass http://127.0.0.1:{dead}; }}
    }}
}}
"""


def said(request: Recorded, wire: Wire) -> bytes:
    return reply(b"x" * 100_000, 500)


class Side:
    """One server and the upstreams behind it."""

    def __init__(self, port: int, main: Recorder, copy: Recorder) -> None:
        self.port = port
        self.main = main
        self.copy = copy

    def ask(self, request: bytes, copies: int) -> tuple[Response, list[object]]:
        """Return the response, and the upstream's requests and the copies when that many copies have arrived."""
        self.main.requests.clear()
        self.copy.requests.clear()
        response = parse_response(send_raw(self.port, request), request.split()[0].decode())
        assert response is not None
        wait_until(lambda: sum(each.complete for each in self.copy.requests) >= copies, "the copies", 120)
        return response, [self._shown(each) for each in (*self.main.requests, *sorted(self.copy.requests, key=_target))]

    def _shown(self, request: Recorded) -> object:
        fields = sorted((name.lower(), value) for name, value in request.headers if name.lower() not in ("host", "connection"))
        return request.method, request.target, fields, request.body


def _target(request: Recorded) -> str:
    return request.target


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """(nginx, ours)."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "root").mkdir()
    (folder / "root" / "static").write_text("a file")
    theirs, ours, dead = free_port(), free_port(), free_port()
    with Recorder(said) as main1, Recorder(said) as copy1, Recorder(said) as main2, Recorder(said) as copy2:
        with (
            run_nginx(conf(theirs, main1, copy1, dead, folder), folder),
            run_proxy(conf(ours, main2, copy2, dead, folder), folder),
        ):
            yield Side(theirs, main1, copy1), Side(ours, main2, copy2)


def head(target: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n{more}Connection: close\r\n\r\n".encode()


CASES = [
    ("/", 1), ("/a%20b?x=1", 1), ("/two", 2), ("/dead", 0), ("/off", 0), ("/bodiless?q", 1), ("/file", 0), ("/static", 1),
    ("/returned", 0), ("/denied", 0),
]  # fmt: skip


@pytest.mark.parametrize(("target", "copies"), CASES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_the_copies_are_nginxs(sides: tuple[Side, Side], target: str, copies: int, method: str) -> None:
    theirs, ours = (side.ask(head(target, method), copies) for side in sides)
    assert ours[1] == theirs[1]
    assert ours[0].status == theirs[0].status
    assert sum(request[1].startswith(("/copy", "/bodiless")) for request in ours[1]) >= copies  # type: ignore[index]


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 300_000])
@pytest.mark.parametrize("framing", FRAMING)
@pytest.mark.parametrize(("target", "copies"), [("/", 1), ("/two?a", 2), ("/bodiless", 1)])
def test_the_copies_have_the_body(sides: tuple[Side, Side], target: str, copies: int, size: int, framing: str) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    if framing == "length":
        request = head(target, "POST", f"Content-Length: {size}\r\n") + body
    else:
        chunk = b"%x\r\n%b\r\n" % (size, body) if size else b""
        request = head(target, "POST", "Transfer-Encoding: chunked\r\n") + chunk + b"0\r\n\r\n"
    theirs, ours = (side.ask(request, copies) for side in sides)
    assert ours[1] == theirs[1]
    assert [request[3] for request in ours[1][1:]] == [b"" if target == "/bodiless" else body] * copies  # type: ignore[index]


@pytest.mark.ours_alone("gunicorn's own workers watch the client's connection in another way")
def test_a_copy_goes_on_when_the_client_has_left(tmp_path: Path) -> None:
    go, port = threading.Event(), free_port()

    def slow(request: Recorded, wire: Wire) -> bytes:
        assert go.wait(60)
        return reply(b"late")

    with Recorder(said) as main, Recorder(slow) as copy:
        with run_proxy(conf(port, main, copy, free_port(), tmp_path), tmp_path) as proxy:
            assert send_raw(port, head("/held")).startswith(b"HTTP/1.1 500")
            wait_until(lambda: len(copy.requests) == 1, "the copy")
            go.set()
            assert send_raw(port, head("/held")).startswith(b"HTTP/1.1 500")
            wait_until(lambda: len(copy.requests) == 2, "the second copy")
            assert "prematurely" not in proxy.log()


def test_readers_of_one_file_do_not_move_each_other(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"0123456789")
    with path.open("rb", buffering=0) as file:
        one, two = _Shared(os.dup(file.fileno())), _Shared(os.dup(file.fileno()))
        assert [one.read(4), two.read(3), file.read(2), one.read(9), two.read(2)] == [b"0123", b"012", b"01", b"456789", b"34"]
        one.seek(0)
        assert one.read(1) == b"0"
        for each in (one, two, two):
            each.close()
