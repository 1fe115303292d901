"""Ranges of proxied responses under `proxy_force_ranges`, in real nginx and in ours."""

from __future__ import annotations

from pathlib import Path

from tests.support import Recorded, Recorder, Wire, chunked, fetch, free_port, reply, run_nginx, run_proxy

BODY = bytes(range(48, 122)) * 3000
NAMES = ("content-type", "content-length", "content-range", "accept-ranges", "etag", "last-modified")
RANGES = ["bytes=0-9", "bytes=5-", "bytes=-7", "bytes=0-", "bytes=999999-", "bytes=9-1", "x=0-1", "", "bytes=100000-150000"]


def upstream(request: Recorded, wire: Wire) -> bytes:
    kind = request.target.rpartition("/")[2]
    fields = [("Content-Type", "text/x"), ("ETag", '"a"'), ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")]
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
