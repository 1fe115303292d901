"""Server Side Includes: documents with every command, in real nginx and in ours."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Response,
    Wire,
    chunked,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_nginx,
    run_proxy,
    wait_until,
)

DOCUMENTS = [
    ast.literal_eval(line) for line in Path(__file__).with_name("documents.txt").read_text().splitlines() if line[0] != "#"
]
FILES = {
    "inc.html": "included <!--#echo var='uri' --> <!--#echo var='request_uri' encoding='none' --> <!--#echo var='arg_a' -->",
    "vars.html": "<!--#echo var='args' encoding='none' -->,<!--#echo var='arg_x' -->,"
    "<!--#echo var='request_method' -->,<!--#echo var='host' -->",
    "sets.html": "[<!--#echo var='v' --><!--#set var='v' value='inner' --><!--#set var='w' value='new' -->]",
    "bad.html": "<!--#bad -->", "empty.html": "", "plain.txt": "<!--#echo var='uri' -->",
    "dir/a.html": "<!--#include virtual='b.html' --><!--#include file='../x' -->",
    "dir/b.html": "b of <!--#echo var='document_uri' -->", "deny.html": "never",
}  # fmt: skip


def conf(port: int, up: Recorder, dead: int, folder: Path) -> str:
    return f"""
error_log stderr;
events {{}}
http {{
    access_log off; types {{ text/html html; text/plain txt; }}
    server {{
        listen {port}; root {folder}; ssi on;
        location /silent/ {{ ssi_silent_errors on; alias {folder}/; }}
        location /short/ {{ ssi_value_length 5; alias {folder}/; }}
        location /types/ {{ ssi_types text/plain; ssi_last_modified on; alias {folder}/; }}
        location /off/ {{ ssi off; alias {folder}/; }}
        location /named/ {{ try_files /none @named; }}
        location @named {{ return 200 "named $uri"; }}
        location /internal/ {{ internal; alias {folder}/; }}
        location /up/ {{ proxy_pass {up.url}; }}
        location /dead/ {{ proxy_pass http://127.0.0.1:{dead}; }}
        location /denied {{ return 403; }}
        location /deny.html {{ deny all; }}
        location /returned {{ default_type text/html; return 200 "r <!--#echo var='uri' -->"; }}
        location /accel {{ proxy_pass {up.url}; }}
    }}
}}
"""


class Upstream:
    """Serves the present document under /page/, in pieces of one byte, and parts of pages elsewhere."""

    def __init__(self) -> None:
        self.document = b""

    def __call__(self, request: Recorded, wire: Wire) -> bytes:
        kind = request.target.partition("?")[0].rpartition("/")[2]
        html = ("Content-Type", "text/html")
        if request.target.startswith("/accel"):
            return reply(headers=[("X-Accel-Redirect", "/inc.html?z")])
        if request.target.startswith("/page/"):
            pieces = [self.document[at : at + 1] for at in range(len(self.document))]
            return reply(headers=[html, ("Transfer-Encoding", "chunked")], length=None) + chunked(*pieces)
        if kind in ("empty", "404"):
            return reply(b"" if kind == "empty" else b"gone", 404 if kind == "404" else 200, [html])
        said = f"{request.method} {request.target} {request.get('Content-Length')} {request.get('X-A')}"
        body = f"<!--#echo var='uri' -->{said}" if kind == "html" else said
        return reply(body.encode(), headers=[html if kind == "html" else ("Content-Type", "text/plain")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ssi")
    (made / "dir").mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


class Sides(NamedTuple):
    """The upstream, and the ports of nginx, this proxy, and this proxy with an upstream that sends the document byte by byte."""

    up: Upstream
    ports: tuple[int, int, int]


@pytest.fixture(scope="module")
def sides(folder: Path) -> Iterator[Sides]:
    theirs, ours, pieces, dead, up = free_port(), free_port(), free_port(), free_port(), Upstream()
    with Recorder(up) as recorder:
        own = conf(ours, recorder, dead, folder)
        server = own[own.index("server {") : own.rindex("}")].replace(f"listen {ours}", f"listen {pieces}")
        page = f"location = /dir/page.html {{ proxy_buffering off; proxy_pass {recorder.url}/page/; }}"
        silent = page.replace("= /dir", "= /silent/dir").replace("{", "{ ssi_silent_errors on;", 1)
        own = f"{own[: own.rindex('}')]} {server[: server.rindex('}')]} {page} {silent} }} }}"
        with run_nginx(conf(theirs, recorder, dead, folder), folder), run_proxy(own, folder):
            yield Sides(up, (theirs, ours, pieces))


ARGS = "a=1&w=Word&h=%3C&x=%26"


def shown(response: Response) -> tuple[object, ...]:
    """Return the parts that are compared: a page of the server without its name."""
    return response.status, response.complete, re.sub(rb"<center>(nginx|wsgi_proxy)[^<]*</center>", b"", response.body)


def test_the_pages_are_nginxs(sides: Sides, folder: Path) -> None:
    """Also in blocks of one byte, which nginx does not always read to the end."""
    different = []
    for document in DOCUMENTS:
        sides.up.document = document.encode()
        (folder / "dir" / "page.html").write_bytes(sides.up.document)
        for target in (f"/dir/page.html?{ARGS}", "/silent/dir/page.html?a=<"):
            wanted, mine, pieces = (shown(fetch(port, target, headers=[("X-A", "1")])) for port in sides.ports)
            if not wanted == mine == pieces:
                different.append((document, wanted, mine, pieces))
    assert not different


@pytest.mark.parametrize("document", ["a<!-- comment -->b<!--", "<", "<!-", "<!--"])
def test_a_text_that_looks_like_a_command_stays(sides: Sides, folder: Path, document: str) -> None:
    """nginx loses it at the end of a page."""
    sides.up.document = document.encode()
    (folder / "dir" / "page.html").write_bytes(sides.up.document)
    assert [fetch(port, "/dir/page.html").text for port in sides.ports[1:]] == [document] * 2


@pytest.mark.parametrize(
    "target",
    ["/short/vars.html", "/types/inc.html", "/types/plain.txt", "/plain.txt", "/off/inc.html", "/inc.html", "/up/404", "/x"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_fields_are_nginxs(sides: Sides, target: str, method: str) -> None:
    for more in ([], [("Range", "bytes=2-5")]):
        mine, wanted = (fetch(port, target, method, headers=more) for port in (sides.ports[1], sides.ports[0]))
        names = ("content-type", "last-modified", "etag", "accept-ranges", "content-range")
        assert [mine.get(name) for name in names] == [wanted.get(name) for name in names]
        assert shown(mine) == shown(wanted)


def test_the_text_before_an_include_leaves_first(tmp_path: Path) -> None:
    go, port = threading.Event(), free_port()

    def slow(request: Recorded, wire: Wire) -> None:
        assert go.wait(60)
        wire.send(reply(b"late"))

    (tmp_path / "page.html").write_text("begin <!--#include virtual='/up/x' --> end")
    with Recorder(slow) as up, run_proxy(conf(port, up, free_port(), tmp_path), tmp_path), Client(port) as client:
        client.send(request_bytes("/page.html", close=True))
        client.read_until(b"begin ")
        wait_until(lambda: len(up.requests) == 1, "the subrequest")
        go.set()
        rest = client.read_all()
        assert b"late" in rest and b" end" in rest


def test_a_page_that_includes_itself_ends(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "a.html").write_text("x<!--#include virtual='/a.html' -->")
    with Recorder(lambda request, wire: reply()) as up, run_proxy(conf(port, up, free_port(), tmp_path), tmp_path) as proxy:
        body = fetch(port, "/a.html").body
        assert body.startswith(b"x" * 51) and b"an error occurred" in body
        assert "subrequests cycle" in proxy.log()


def test_an_include_through_the_cache(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "page.html").write_text("<!--#include virtual='/up/x' --> <!--#include virtual='/up/x' -->")
    with Recorder(lambda request, wire: reply(b"part", headers=[("Cache-Control", "max-age=60")])) as up:
        text = conf(port, up, free_port(), tmp_path).replace("location /up/ {", "location /up/ { proxy_cache c;")
        text = text.replace("http {", f"http {{ proxy_cache_path {tmp_path}/cache keys_zone=c:1m;", 1)
        with run_proxy(text, tmp_path):
            assert [fetch(port, "/page.html").text for _ in range(2)] == ["part part"] * 2
            assert len(up.requests) <= 2
