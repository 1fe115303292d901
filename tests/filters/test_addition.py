"""`add_before_body` and `add_after_body`, compared with nginx's."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from tests.support import Recorder, Response, fetch, free_port, full_nginx, reply, run_nginx, run_proxy

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
