"""`add_before_body` and `add_after_body`, compared with nginx's."""

from __future__ import annotations

import gzip
import re
import socket
from pathlib import Path

from tests.support import Recorder, Response, fetch, free_port, full_nginx, reply, run_nginx, run_proxy
from wsgi_proxy.filters.addition import _led

NAMES = ("content-type", "content-length", "last-modified", "etag", "accept-ranges", "content-range", "content-encoding")


def conf(port: int, up: str, folder: Path) -> str:
    return f"""
events {{}}
http {{
    access_log off; types {{ text/html html; text/plain txt; }}
    server {{
        listen {port}; root {folder};
        add_before_body /before.txt; add_after_body /up/after;
        location /ssi/ {{ ssi on; sub_filter body BODY; alias {folder}/; add_before_body /own/inc.html; add_after_body ""; }}
        location /own/ {{ ssi on; sub_filter arg ARG; alias {folder}/; }}
        location /types/ {{ addition_types text/plain; gzip on; gzip_min_length 0; gzip_types *; alias {folder}/; }}
        location /missing/ {{ add_before_body /none; alias {folder}/; }}
        location /up/ {{ proxy_http_version 1.1; proxy_pass {up}; }}
        location /gone {{ return 404; }}
        location /text {{ default_type text/html; return 200 "text"; }}
    }}
}}
"""


def shown(response: Response) -> tuple[object, ...]:
    body = re.sub(rb"<center>(nginx|wsgi_proxy)[^<]*</center>", b"", response.body)
    fields = {name: response.get_all(name) for name in NAMES}
    if response.get("content-encoding"):
        body = gzip.decompress(body) if body else body
    if response.status != 200:
        fields.pop("content-length")
    return response.status, response.complete, fields, body


def test_bodies_and_fields_are_nginxs(tmp_path: Path) -> None:
    binary = full_nginx("http_addition_module", "http_sub_module")
    (tmp_path / "page.html").write_text("the body")
    (tmp_path / "page.txt").write_text("the text")
    (tmp_path / "empty.html").write_text("")
    (tmp_path / "before.txt").write_text("[before body]")
    (tmp_path / "inc.html").write_text("[inc body <!--#echo var='arg_a' --> arg]")
    theirs, ours = free_port(), free_port()
    with (
        Recorder(lambda request, wire: reply(request.raw_head.split(b"\r\n")[0], headers=[("Content-Type", "text/html")])) as up,
        run_nginx(conf(theirs, up.url, tmp_path), tmp_path, program=binary),
        run_proxy(conf(ours, up.url, tmp_path), tmp_path),
    ):
        targets = "/page.html /page.html?a=1 /page.txt /empty.html /ssi/page.html?a=1 /types/page.txt /types/page.html"
        for target in f"{targets} /missing/page.html /up/x /gone /text /none.html /before.txt".split():
            for method in ("GET", "HEAD"):
                for more in ([], [("Range", "bytes=1-3")], [("Accept-Encoding", "gzip")]):
                    mine, wanted = (fetch(port, target, method, headers=more) for port in (ours, theirs))
                    assert shown(mine) == shown(wanted), (target, method, more)


def test_a_page_in_memory_leaves_with_the_last_block_before_it() -> None:
    """An empty block is a mark: what is held then leaves, because the next block is awaited."""
    joined = b"|".join(_led(iter([b"one", b"", b"two", b"three"]), iter([b"page", b"rest"])))
    assert joined == b"one||two|threepage"
    assert list(_led(iter([b"one", b""]), iter([b"page"]))) == [b"one", b"", b"page"]
    assert list(_led(iter([]), iter([b"page"]))) == [b"page"]
    assert list(_led(iter([b"one"]), iter(()))) == [b"one"]


def test_one_chunk_for_both(tmp_path: Path) -> None:
    port = free_port()
    with Recorder(lambda request, wire: reply(b"before ")) as up:
        locations = f"location /before {{ proxy_pass {up.url}; }} location / {{ add_before_body /before; return 200 page; }}"
        server = f"server {{ listen {port}; default_type text/html; {locations} }}"
        with run_proxy(f"events {{}} http {{ access_log off; {server} }}", tmp_path):
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                received = b"".join(iter(lambda: client.recv(65536), b""))
            assert b"\r\nbefore page\r\n" in received
