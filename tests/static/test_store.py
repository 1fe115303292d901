"""`proxy_store`: the files that nginx keeps, and ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Wire, chunked, fetch, free_port, reply, run_nginx, run_proxy, wait_until

BODY = b"kept" * 50_000
DATE = [("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")]


def upstream(request: Recorded, wire: Wire) -> bytes | None:
    kind = request.target.partition("?")[0].rpartition("/")[2]
    if kind == "chunked":
        return reply(headers=[("Transfer-Encoding", "chunked")], length=None) + chunked(BODY[:9], BODY[9:])
    if kind == "short":
        wire.send(reply(BODY[:-1], length=len(BODY)))
        wire.close()
        return None
    status = {"gone": "404 Not Found", "other": "203 X"}.get(kind, "200 OK")
    return reply(b"" if request.method == "HEAD" else BODY, status, DATE if kind == "dated" else (), length=len(BODY))


def conf(port: int, up: Recorder, folder: Path) -> str:
    return f"""events {{}} http {{ access_log off; proxy_temp_path {folder}/temp; server {{
        listen {port}; proxy_http_version 1.1; root {folder}/root; proxy_store on;
        location / {{ proxy_pass {up.url}; }}
        location /alias/ {{ alias {folder}/other/; proxy_store_access group:rw all:r; proxy_pass {up.url}; }}
        location /path/ {{ proxy_store {folder}/path/$arg_p; proxy_store_access user:r; proxy_pass {up.url}; }}
        location /off/ {{ proxy_store off; proxy_pass {up.url}; }}
        location /unbuffered/ {{ proxy_buffering off; proxy_pass {up.url}; }} }} }}"""


def kept(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the mode, the content and the time of each file, and the mode of each directory."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.relative_to(folder).parts[0] != "temp"):
        status = path.stat()
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = (oct(status.st_mode & 0o777),)
        else:
            dated = int(status.st_mtime) if status.st_mtime < 1_500_000_000 else 0
            found[name] = (oct(status.st_mode & 0o777), path.read_bytes() == BODY, dated)
    return {name: each for name, each in found.items() if name.split("/")[0] in ("root", "other", "path")}


def test_the_files_are_nginxs(tmp_path: Path) -> None:
    targets = "/a /dir/sub/dated?x=y /chunked /gone /other /short /alias/b /alias/deep/c /path/x?p=one /path/x?p=two/three /off/d"
    told = []
    old = os.umask(0o022)
    try:
        for run in (run_nginx, run_proxy):
            folder, port = tmp_path / run.__name__, free_port()
            folder.mkdir()
            with Recorder(upstream) as up, run(conf(port, up, folder), tmp_path):
                for target in f"{targets} /unbuffered/e /sp%20ace/f%3Fg".split():
                    fetch(port, target)
                for target, method in (("/head", "HEAD"),):
                    fetch(port, target, method)
                fetch(port, "/a")
                wait_until(lambda: "root/sp ace/f?g" in kept(folder), "the last file")  # noqa: B023
                if run is run_proxy:
                    # nginx leaves the file of a response that was cut short.
                    wait_until(lambda: not [path for path in (folder / "temp").rglob("*") if path.is_file()], "no rest")  # noqa: B023
            told.append(kept(folder))
    finally:
        os.umask(old)
    assert told[0] == told[1]
    assert told[1]["path/two/three"] == ("0o400", True, 0)


@pytest.mark.parametrize("value", ["../x", "a/../../x", "", "a/", "a%00"])
def test_no_client_chooses_a_path_outside(value: str, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "path").mkdir()
    with Recorder(upstream) as up, run_proxy(conf(port, up, tmp_path), tmp_path):
        assert fetch(port, f"/path/x?p={value}").body == BODY
    assert not (tmp_path / "x").exists() and not [path for path in (tmp_path / "path").rglob("*") if path.name != "a%00"]
