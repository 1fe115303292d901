"""`slice`: responses in parts, with and without a cache, and the requests to the upstream, compared with nginx's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Wire, fetch, free_port, full_nginx, reply, run_nginx, run_proxy

BODY = bytes(range(33, 127)) * 11
SIZE = 100
NAMES = ("content-length", "content-range", "accept-ranges", "etag", "content-type")
ASKED = [
    "", "bytes=0-9", "bytes=150-260", "bytes=1000-", "bytes=-7", "bytes=-250", f"bytes={len(BODY) - 1}-", "bytes=99-100",
    "bytes=0-", "bytes=200-299", "bytes=199-199",
]  # fmt: skip


class Upstream:
    """Serves parts of BODY; `kind` makes it misbehave."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request: Recorded, wire: Wire) -> bytes:
        asked = request.get("Range") or ""
        self.asked.append(asked)
        kind = request.target.strip("/").partition("?")[0].rpartition("/")[2]
        html = [("Content-Type", "text/x"), ("ETag", f'"{asked}"' if kind == "changed" else '"a"')]
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        if found is None or kind in ("whole", "missing") or (kind == "broken" and found[1] != "0"):
            return reply(BODY, 404 if kind == "missing" else 200, html)
        start, end = int(found[1]), min(int(found[2]) + 1, len(BODY))
        if kind == "shifted":
            start += 1
        shown = f"bytes {start}-{end - 1}/{len(BODY)}"
        return reply(
            b"" if request.method == "HEAD" else BODY[start:end], 206, [*html, ("Content-Range", shown)], length=end - start
        )


def conf(port: int, up: Recorder, folder: Path) -> str:
    return f"""events {{}} http {{ access_log off; proxy_cache_path {folder} keys_zone=c:1m; server {{
        listen {port}; proxy_http_version 1.1;
        location / {{ slice {SIZE}; proxy_set_header Range $slice_range; proxy_pass {up.url}; }}
        location /cached/ {{
            slice {SIZE}; proxy_cache c; proxy_cache_key $uri$is_args$args$slice_range; proxy_cache_valid 200 206 1h;
            proxy_set_header Range $slice_range; proxy_pass {up.url};
        }} }} }}"""


def told(run: object, tmp_path: Path, program: Path | None) -> list[object]:
    """Return the responses and the upstream's ranges for every request."""
    found: list[object] = []
    port, up = free_port(), Upstream()
    folder = tmp_path / ("theirs" if program else "ours")
    with Recorder(up) as recorder:
        text = conf(port, recorder, folder)
        with run_nginx(text, tmp_path, program=program) if program else run_proxy(text, tmp_path):
            for target in ("/plain", "/cached/a", "/cached/a?2", "/cached/whole", "/missing"):
                for asked in [*ASKED, *ASKED[:4]] if target != "/cached/a?2" else ["bytes=250-", "", "bytes=0-"]:
                    up.asked.clear()
                    response = fetch(port, target, headers=[("Range", asked)] if asked else [])
                    fields = [response.get(name) for name in NAMES] if response.status in (200, 206) else []
                    body = response.body if response.status in (200, 206) else b""
                    found.append((target, asked, response.status, fields, body, list(up.asked)))
            for method, target in (("HEAD", "/plain"), ("HEAD", "/cached/a"), ("HEAD", "/cached/head"), ("GET", "/cached/head")):
                up.asked.clear()
                response = fetch(port, target, method)
                found.append(
                    (method, target, response.status, [response.get(name) for name in NAMES], response.body, list(up.asked))
                )
    return found


def test_parts_are_nginxs(tmp_path: Path) -> None:
    theirs = told(run_nginx, tmp_path, full_nginx("http_slice_module"))
    ours = told(run_proxy, tmp_path, None)
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert different == []


TAG = '"a"'
CONDITIONS = [
    [("If-None-Match", TAG)],
    [("If-None-Match", '"b"')],
    [("If-Match", TAG)],
    [("If-Match", '"b"')],
    [("If-None-Match", TAG), ("Range", "bytes=0-4")],
    [("If-Range", TAG), ("Range", "bytes=350-351")],
    [("If-Range", TAG), ("Range", "bytes=350-351")],
    [("If-Range", '"b"'), ("Range", "bytes=350-351")],
    [],
]


def conditional(tmp_path: Path, program: Path | None) -> list[object]:
    found: list[object] = []
    port, up = free_port(), Upstream()
    with Recorder(up) as recorder:
        text = conf(port, recorder, tmp_path / ("theirs" if program else "ours"))
        with run_nginx(text, tmp_path, program=program) if program else run_proxy(text, tmp_path):
            for asked in CONDITIONS:
                for _ in range(2):
                    up.asked.clear()
                    response = fetch(port, "/cached/a", headers=asked)
                    body = response.body if response.status in (200, 206) else b""
                    found.append((asked, response.status, response.get("content-range"), body, list(up.asked)))
    return found


def test_conditions_on_a_cached_response_are_nginxs(tmp_path: Path) -> None:
    """They apply to the whole response, not to its parts; each part that was begun is stored."""
    theirs = conditional(tmp_path, full_nginx("http_slice_module"))
    ours = conditional(tmp_path, None)
    assert [found[1] for found in ours[:10:2]] == [304, 200, 200, 412, 304]
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []


@pytest.mark.parametrize("kind", ["changed", "broken"])
@pytest.mark.ours_alone("gunicorn's own workers cut a response in another way")
def test_a_part_that_does_not_fit_cuts_the_response(kind: str, tmp_path: Path) -> None:
    port = free_port()
    with Recorder(Upstream()) as up, run_proxy(conf(port, up, tmp_path / "cache"), tmp_path) as proxy:
        response = fetch(port, f"/{kind}")
        assert response.status == 200 and response.body == BODY[:SIZE] and not response.complete
        assert "in slice response" in proxy.log()


def test_a_first_part_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with Recorder(Upstream()) as up, run_proxy(conf(port, up, tmp_path / "cache"), tmp_path):
        assert fetch(port, "/shifted").status == 502
