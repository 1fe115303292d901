"""The same requests to nginx and to this proxy with gzip: equal statuses, equal fields, and equal bodies once decompressed."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Response, Wire, chunked, fetch, free_port, reply, run_nginx, run_proxy
from tests.support.routing import Pairs

MODIFIED = 1600000000
PAGE = "<p>hello</p>\n" * 300
IGNORED = {"date", "server", "connection", "transfer-encoding", "keep-alive"}
SERVERS = {
    "on": "gzip on;",
    "off": "gzip off;",
    "vary": "gzip on; gzip_vary on;",
    "types": "gzip on; gzip_types text/plain application/json;",
    "every": "gzip on; gzip_types *; gzip_min_length 0;",
    "length": "gzip on; gzip_min_length 2000; gzip_comp_level 9;",
    "any": "gzip on; gzip_proxied any;",
    "expired": "gzip on; gzip_proxied expired;",
    "stores": "gzip on; gzip_proxied no-cache no-store private;",
    "times": "gzip on; gzip_proxied no_last_modified no_etag;",
    "auth": "gzip on; gzip_proxied auth;",
    "old": 'gzip on; gzip_http_version 1.0; gzip_disable msie6 "wge.";',
    "added": "gzip on; gzip_vary on; add_header Vary X-A; expires 1h; charset utf-8;",
    "inside": "gzip on; gzip_types text/plain; location = /page.txt { if ($arg_off) { gzip off; } }",
}
TARGETS = (
    "/page.html /page.txt /page.json /short.html /limit.html /none.html /returned /forbidden /moved /error /empty "
    "/up/html /up/txt /up/chunked /up/coded /up/identity /up/charset /up/parameter /up/created /up/304 /up/204 /up/404 /up/206 "
    "/up/expired /up/fresh /up/private /up/no-store /up/strange /up/weak /page.txt?off=1"
).split()
ASKING: list[Pairs] = [
    [("Accept-Encoding", "gzip")],
    [],
    [("Accept-Encoding", "gzip"), ("Via", "1.1 x")],
]
MORE: list[tuple[str, str, Pairs]] = [
    *(("/page.html", "GET", [("Accept-Encoding", field)]) for field in (
        "gzip, deflate", "deflate, gzip", "*", "gzip;q=0", "gzip;q=0.001", "gzip;q=1.000", "gzip;q=1.001", "GZIP", "x-gzip",
        "gzip;q=", "gzip;", "gzip ; q=0.5", "br;q=1, gzip;q=0.2, *;q=0", "identity", "gzip;q=0.0001", "gzip;Q=0", "gzip\tx",
        "gzi", "gzipx, gzip", "gzip;q=0,gzip", "gzip;q=.5", "gzip;q=0.5;x=y", "gzip; q = 1",
    )),
    *(("/page.html", "GET", [("Accept-Encoding", "gzip"), ("User-Agent", agent)]) for agent in (
        "wget", "Mozilla/4.0 (compatible; MSIE 6.0; Windows)", "Mozilla/4.0 (compatible; MSIE 6.0; Windows; SV1)", "MSIE 5.5x",
    )),
    *((target, "HEAD", [("Accept-Encoding", "gzip")]) for target in ("/page.html", "/returned", "/up/html", "/none.html")),
    *(("/page.html", "GET", [("Accept-Encoding", "gzip"), *more]) for more in (
        [("If-None-Match", f'"{MODIFIED:x}-f3c"')], [("If-None-Match", f'W/"{MODIFIED:x}-f3c"')], [("If-None-Match", '"x"')],
        [("If-Match", f'"{MODIFIED:x}-f3c"')], [("Via", "1.1 x"), ("Authorization", "Basic eDp5")],
    )),
]  # fmt: skip


def upstream(request: Recorded, wire: Wire) -> bytes:
    """Responses of every kind, by the last part of the target."""
    kind = request.target.rpartition("/")[2]
    body = PAGE.encode() if request.method != "HEAD" else b""
    html = ("Content-Type", "text/html")
    fields: dict[str, list[tuple[str, str]]] = {
        "txt": [("Content-Type", "text/plain")],
        "coded": [html, ("Content-Encoding", "gzip")],
        "identity": [html, ("Content-Encoding", "identity")],
        "charset": [("Content-Type", "text/html; charset=utf-8"), ("ETag", '"a"'), ("Accept-Ranges", "bytes")],
        "parameter": [("Content-Type", "text/html; version=1")],
        "expired": [html, ("Expires", "Thu, 01 Jan 2015 00:00:00 GMT")],
        "fresh": [html, ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")],
        "private": [html, ("Cache-Control", "private, max-age=4"), ("ETag", '"a"')],
        "no-store": [html, ("Cache-Control", "max-age=0"), ("Cache-Control", "no-store")],
        "strange": [html, ("ETag", "a"), ("Vary", "X-B")],
        "weak": [html, ("ETag", 'W/"a"')],
    }
    if kind == "chunked":
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body[:99], body[99:])
    statuses = {"created": "201 Created", "304": "304 Not Modified", "204": "204 No Content", "404": "404 Not Found"}
    if kind in ("304", "204"):
        return reply(status=statuses[kind], headers=[html, ("ETag", '"a"')], length=None)
    if kind == "206":
        return reply(body, "206 Partial Content", [html, ("Content-Range", f"bytes 0-{len(PAGE) - 1}/9999")])
    return reply(body, statuses.get(kind, "200 OK"), fields.get(kind, [html]), length=len(PAGE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    root.mkdir()
    for name, text in {
        "page.html": PAGE,
        "page.txt": PAGE,
        "page.json": PAGE,
        "short.html": "x" * 19,
        "limit.html": "x" * 20,
    }.items():
        (root / name).write_text(text)
        os.utime(root / name, (MODIFIED, MODIFIED))
    return root


def conf(port: int, root: Path, up: str, servers: dict[str, str]) -> str:
    """One server for each set of settings, by name."""
    blocks = "".join(
        f"""server {{ listen {port}; server_name {name}; root {root}; {text}
            location = /returned {{ default_type text/html; return 200 "{"returned " * 20}"; }}
            location = /forbidden {{ deny all; }}
            location = /moved {{ absolute_redirect off; return 302 /x; }}
            location = /error {{ return 500; }}
            location = /empty {{ default_type text/html; return 200 ""; }}
            location /up/ {{ proxy_pass {up}; proxy_http_version 1.1; }}
        }}"""
        for name, text in servers.items()
    )
    types = "types { text/html html; text/plain txt; application/json json; }"
    return f"events {{}} http {{ access_log off; {types} {blocks} }}"


def seen(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """The parts of a response that are compared. The body of a standard page names its server."""
    fields = sorted((name.lower(), value) for name, value in response.headers if name.lower() not in IGNORED)
    body = response.body
    if response.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    if b"<center>" in body or (response.status >= 400 and not body):
        body = b"a page"
        fields = [pair for pair in fields if pair[0] != "content-length"]
    return response.status, fields, body


@pytest.fixture
def ports(tmp_path: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """The ports of nginx and of this proxy with the same configuration."""
    theirs, ours = free_port(), free_port()
    with Recorder(upstream) as up:
        with (
            run_nginx(conf(theirs, folder, up.url, SERVERS), tmp_path),
            run_proxy(conf(ours, folder, up.url, SERVERS), tmp_path),
        ):
            yield theirs, ours


def requests() -> Iterator[tuple[str, str, str, Pairs]]:
    for host in SERVERS:
        for target in TARGETS:
            for fields in ASKING:
                yield host, target, "GET", fields
        for target, method, more in MORE:
            yield host, target, method, more


def test_compression(ports: tuple[int, int]) -> None:
    different = []
    for host, target, method, fields in requests():
        theirs, ours = (seen(fetch(port, target, method, fields, host=host)) for port in ports)
        if theirs != ours:
            different.append(f"{host} {method} {target} {fields}\n  nginx {theirs}\n  here  {ours}"[:1500])
    assert not different, f"{len(different)} differ\n" + "\n".join(different[:20])
