"""Ranges of proxied responses under `proxy_force_ranges`, in real nginx and in ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Response, Wire, chunked, fetch, free_port, reply, run_nginx, run_proxy
from tests.support.comparison import compare_with_nginx

BODY = bytes(range(48, 122)) * 3000
NAMES = ("content-type", "content-length", "content-range", "accept-ranges", "etag", "last-modified")
RANGES = ["bytes=0-9", "bytes=5-", "bytes=-7", "bytes=0-", "bytes=999999-", "bytes=9-1", "x=0-1", "", "bytes=100000-150000"]


def upstream(request: Recorded, wire: Wire) -> bytes:
    kind = request.target.rpartition("/")[2]
    fields = [("Content-Type", "text/x"), ("ETag", '"a"'), ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")]
    if kind.startswith("bytes"):
        fields.append(("Accept-Ranges", "bytes"))
    if kind == "private":
        fields.append(("Set-Cookie", "a=b"))
    if kind == "none":
        fields.append(("Accept-Ranges", "none"))
    if kind == "chunked":
        return reply(headers=[*fields, ("Transfer-Encoding", "chunked")], length=None) + chunked(BODY)
    status = "404 Not Found" if kind == "missing" else "200 OK"
    return reply(b"" if request.method == "HEAD" else BODY, status, fields, length=len(BODY))


def test_forced_ranges_are_nginxs(tmp_path: Path) -> None:
    theirs, ours = free_port(), free_port()

    def conf(port: int) -> str:
        return f"""events {{}} http {{ access_log off; server {{
            listen {port}; proxy_http_version 1.1;
            location / {{ proxy_force_ranges on; proxy_pass {up.url}; }}
            location /off/ {{ proxy_pass {up.url}; }} }} }}"""

    with Recorder(upstream) as up, run_nginx(conf(theirs), tmp_path), run_proxy(conf(ours), tmp_path):
        for target in ("/plain", "/none", "/chunked", "/missing", "/off/plain"):
            for asked in RANGES:
                for more in ([], [("If-Range", '"a"')], [("If-Range", '"b"')]):
                    headers = [*([("Range", asked)] if asked else []), *more]
                    mine, wanted = (fetch(port, target, headers=headers) for port in (ours, theirs))
                    where = (target, headers)
                    assert mine.status == wanted.status or asked in ("bytes=9-1",), where
                    if wanted.status != 416:
                        assert [mine.get(name) for name in NAMES] == [wanted.get(name) for name in NAMES], where
                        assert mine.body == wanted.body, where
                    elif mine.status == 416:
                        assert mine.get("content-range") == wanted.get("content-range"), where


SEVERAL = [
    "bytes=0-1,5-9", "bytes=0-1, -3", "bytes=5-9,0-1,100-", "bytes=0-1,999999-", "bytes=999999-,888888-", "bytes=0-,0-",
    "bytes=0-1,x",
    "bytes=0-1,2-3,4-5", "bytes=3-2,0-1",
]  # fmt: skip


def parts(response: Response) -> tuple[object, ...]:
    """Return the parts that are compared. The boundary is random."""
    kind = response.get("content-type") or ""
    boundary = kind.partition("boundary=")[2]
    body, kind = response.body, kind.replace(boundary, "B") if boundary else kind
    if boundary:
        assert response.get("content-length") == str(len(body))
        body = body.replace(boundary.encode(), b"B")
    if response.status == 416:
        kind, body = "", b""  # ours has no page
    return response.status, kind, response.get("content-range"), body


@pytest.mark.parametrize("zone", ["disk", "memory"])
def test_several_ranges_of_a_stored_response_are_nginxs(tmp_path: Path, zone: str) -> None:
    theirs, ours = free_port(), free_port()

    def conf(port: int, path: str) -> str:
        return f"""events {{}} http {{ access_log off; proxy_cache_path {path} keys_zone=c:1m;
            charset_map b a {{ 58 59; 51 5A; 40 3F; }} server {{
            listen {port}; proxy_http_version 1.1; proxy_cache c; proxy_cache_valid 200 1h; proxy_force_ranges on;
            location / {{ proxy_pass {up.url}; }}
            charset_types *;
            location /named/ {{ charset x; proxy_pass {up.url}; }}
            location /recoded/ {{ charset a; source_charset b; proxy_pass {up.url}; }}
            location /two/ {{ max_ranges 2; proxy_pass {up.url}; }}
            location /zipped/ {{ gzip on; gzip_types *; proxy_pass {up.url}; }} }} }}"""

    mine = "memory" if zone == "memory" else f"{tmp_path}/ours"
    with (
        Recorder(upstream) as up,
        run_nginx(conf(theirs, f"{tmp_path}/theirs"), tmp_path),
        run_proxy(conf(ours, mine), tmp_path),
    ):
        for target in ("/plain", "/two/plain", "/zipped/plain", "/named/plain", "/recoded/plain"):
            first, second = (fetch(port, target) for port in (ours, theirs))
            assert first.body == second.body and (first.body == BODY or "recoded" in target)
            for asked in SEVERAL:
                for more in ([], [("If-Range", '"a"')], [("If-Range", '"b"')], [("Accept-Encoding", "gzip")]):
                    found, wanted = (fetch(port, target, headers=[("Range", asked), *more]) for port in (ours, theirs))
                    if wanted.get("content-encoding"):
                        assert found.status == wanted.status == 200
                    else:
                        assert parts(found) == parts(wanted), (target, asked, more)


@pytest.mark.parametrize("forced", ["on", "off"])
def test_ranges_of_a_cached_response_are_nginxs(tmp_path: Path, forced: str) -> None:
    """Also without Accept-Ranges from the upstream, where nginx's are those under `proxy_force_ranges on`.

    A response that turns out not to be stored (`private`) has parts in any case only under `proxy_force_ranges on`.
    """
    theirs, ours = free_port(), free_port()

    def conf(port: int, path: str, forced: str) -> str:
        return f"""events {{}} http {{ access_log off; proxy_cache_path {path} keys_zone=c:1m;
            server {{ listen {port}; proxy_http_version 1.1; proxy_cache c; proxy_cache_valid 200 1h;
            proxy_force_ranges {forced}; location / {{ proxy_pass {up.url}; }} }} }}"""

    with (
        Recorder(upstream) as up,
        run_nginx(conf(theirs, f"{tmp_path}/theirs", "on"), tmp_path),
        run_proxy(conf(ours, f"{tmp_path}/ours", forced), tmp_path),
    ):
        for kind in ("plain", "bytes", "none", *(["private"] if forced == "on" else [])):
            for number, asked in enumerate(("bytes=5-9", "bytes=999999-", "bytes=0-1,5-9")):
                # A miss, then a hit.
                for _ in range(2):
                    found, wanted = (fetch(port, f"/{number}/{kind}", headers=[("Range", asked)]) for port in (ours, theirs))
                    assert parts(found) == parts(wanted), (kind, asked)


@pytest.mark.parametrize(
    "fields",
    [
        "", 'add_header Last-Modified "Mon, 28 Sep 1970 06:00:00 GMT";', 'add_header Last-Modified "";',
        "add_header ETag '\"x\"';", "add_header ETag '';", "add_header Last-Modified nonsense;",
    ],
)  # fmt: skip
def test_if_range_is_compared_with_the_validators_that_the_client_gets(tmp_path: Path, fields: str) -> None:
    (tmp_path / "a").write_bytes(BODY)
    os.utime(tmp_path / "a", (1e9, 1e9))
    conf = f"""events {{}} http {{ access_log off; server {{ listen 127.0.0.1:@PORT@; root {tmp_path}; {fields} }} }}"""
    dates = ["Mon, 28 Sep 1970 06:00:00 GMT", "Sun, 09 Sep 2001 01:46:40 GMT", "Sun, 09 Sep 2001 01:46:41 GMT", "nonsense"]
    with compare_with_nginx(conf, tmp_path, sized=True) as both:
        for value in (*dates, '"x"', '"y"', f'"{10**9:x}-{len(BODY):x}"'):
            both.compare("/a", fields=[("Host", "a"), ("Range", "bytes=0-3"), ("If-Range", value)])
