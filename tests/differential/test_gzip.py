"""The same requests to nginx and to this proxy with gzip, gunzip and gzip_static.

Statuses and fields are equal, and bodies once they are decompressed. `/cached` is asked twice, so that the store answers.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Response, Wire, chunked, fetch, free_port, full_nginx, reply, run_nginx, run_proxy
from tests.support.routing import Pairs

MODIFIED = 1600000000
PAGE = "<p>hello</p>\n" * 300
MODULES = ("http_gunzip_module", "http_gzip_static_module")
IGNORED = {"age", "cache-status", "date", "server", "connection", "transfer-encoding", "keep-alive"}
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
STATIC = {
    "on": "gzip_static on;",
    "always": "gzip_static always;",
    "vary": "gzip_static on; gzip_vary on;",
    "both": "gzip_static on; gzip on; gzip_vary on; gzip_types text/plain;",
    "inflated": "gzip_static always; gunzip on;",
    "vary-inflated": "gunzip on; gzip_vary on;",
    "all": "gzip on; gunzip on; gzip_vary on; gzip_proxied any; gzip_types *;",
    "proxied": "gzip_static on; gunzip on; gzip_proxied expired;",
}
FILES = (
    "/page.html /page.txt /only.html /folder.html /none.html /short.html /page.html.gz /up/html /up/gzipped /up/members /up/head "
    "/up/capital /up/x-gzip /up/404gz /cached/html /cached/html /cached/gzipped /cached/gzipped"
).split()
PARTS: list[Pairs] = [
    [("Range", "bytes=0-9")],
    [("Range", "bytes=0-9"), ("Accept-Encoding", "gzip")],
    [("Range", "bytes=99999-"), ("Accept-Encoding", "gzip")],
    [("If-None-Match", "*"), ("Accept-Encoding", "gzip")],
    [("If-None-Match", "*")],
]
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
    packed = gzip.compress(PAGE.encode(), mtime=0)
    # nginx serves ranges of a stored response only with this field, this proxy of every one.
    ranges = [("Accept-Ranges", "bytes")] if request.target.startswith("/cached") else []
    coded = [html, ("Content-Encoding", "gzip"), ("ETag", '"a"'), *ranges]
    if kind in ("gzipped", "members", "capital", "x-gzip", "404gz"):
        data = packed + gzip.compress(b"more", mtime=0) if kind == "members" else packed
        if kind == "capital":
            coded[1] = ("Content-Encoding", "GZip")
        elif kind == "x-gzip":
            coded[1] = ("Content-Encoding", "x-gzip")
        status = "404 Not Found" if kind == "404gz" else "200 OK"
        return reply(data if request.method != "HEAD" else b"", status, coded, length=len(data))
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
    return reply(body, statuses.get(kind, "200 OK"), fields.get(kind, [html]) + ranges, length=len(PAGE))


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
    for name in ("page.html.gz", "only.html.gz"):
        (root / name).write_bytes(gzip.compress(PAGE.encode(), mtime=0))
    (root / "folder.html.gz").mkdir()
    for path in root.iterdir():
        os.utime(path, (MODIFIED, MODIFIED))
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
            location /cached/ {{ proxy_pass {up}; proxy_cache c; proxy_cache_key $host$uri; proxy_cache_valid 1h; }}
        }}"""
        for name, text in servers.items()
    )
    types = "types { text/html html; text/plain txt; application/json json; }"
    cache = f"proxy_cache_path {root.parent}/cache-{port} keys_zone=c:1m;"
    return f"events {{}} http {{ access_log off; {types} {cache} {blocks} }}"


def seen(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """The parts of a response that are compared. The body of a standard page names its server."""
    fields = [(name.lower(), value) for name, value in response.headers if name.lower() not in IGNORED]
    fields.sort(key=lambda pair: pair[0])  # the order of equal names counts
    body = response.body
    if response.get("content-encoding") == "gzip" and response.status != 206 and body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    if b"<center>" in body or (response.status >= 400 and not body):
        body = b"a page"
        fields = [pair for pair in fields if pair[0] != "content-length"]
    if response.status in (206, 416):
        # The fields of parts are those of the store and of files, which other tests compare.
        fields = [pair for pair in fields if pair[0] in ("content-encoding", "content-range") and response.status == 206]
    return response.status, fields, body


def answer(port: int, target: str, method: str, fields: Pairs, host: str) -> object:
    """The parts of a response that are compared, or the name of the error that the client gets instead."""
    try:
        return seen(fetch(port, target, method, fields, host=host))
    except (ConnectionError, EOFError) as error:
        return type(error).__name__


def compare(tmp_path: Path, folder: Path, servers: dict[str, str], requests: Iterable[tuple[str, str, str, Pairs]]) -> None:
    """Send requests (host, target, method, fields) to both; fail with those that are answered differently."""
    theirs_at, ours_at = free_port(), free_port()
    different = []
    with (
        Recorder(upstream) as up,
        run_nginx(conf(theirs_at, folder, up.url, servers), tmp_path, program=full_nginx(*MODULES)),
        run_proxy(conf(ours_at, folder, up.url, servers), tmp_path),
    ):
        for host, target, method, fields in requests:
            for _ in range(3):
                # A second may begin between the two, which `Expires` shows.
                theirs, ours = (answer(port, target, method, fields, host) for port in (theirs_at, ours_at))
                if theirs == ours:
                    break
            else:
                different.append(f"{host} {method} {target} {fields}\n  nginx {theirs}\n  here  {ours}"[:1500])
    assert not different, f"{len(different)} differ\n" + "\n".join(different[:20])


def test_compression(tmp_path: Path, folder: Path) -> None:
    requests = [(host, target, "GET", fields) for host in SERVERS for target in TARGETS for fields in ASKING]
    requests += [(host, target, method, fields) for host in SERVERS for target, method, fields in MORE]
    compare(tmp_path, folder, SERVERS, requests)


def test_compressed_files_and_responses(tmp_path: Path, folder: Path) -> None:
    requests = [
        (host, target, method, fields)
        for host in STATIC
        for target in FILES
        for method, fields in [*(("GET", fields) for fields in ASKING + PARTS), *(("HEAD", fields) for fields in ASKING)]
    ]
    compare(tmp_path, folder, STATIC, requests)
