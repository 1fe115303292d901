"""PUT, DELETE, MKCOL, COPY and MOVE: the responses and the files are nginx's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from tests.support import fetch, free_port, full_nginx, run_nginx, run_proxy

Fields = list[tuple[str, str]]


class Step(NamedTuple):
    """One request."""

    method: str
    uri: str
    headers: Fields = []
    body: bytes = b""


def to(uri: str, *more: tuple[str, str]) -> Fields:
    return [("Destination", uri), *more]


CHUNKED = [("Transfer-Encoding", "chunked")]
DATE = ("Date", "Thu, 01 Jan 2015 00:00:00 GMT")
STEPS = [
    Step("PUT", "/a/new", body=b"0123456789"),
    Step("PUT", "/a/new", body=b"again"),
    Step("PUT", "/a/empty", [("Content-Length", "0")]),
    Step("PUT", "/a/b%20c%25", body=b"x"),
    Step("PUT", "/a/%D0%BC", body=b"x"),
    Step("PUT", "/a/dated", [DATE], b"x"),
    Step("PUT", "/a/misdated", [("Date", "never")], b"x"),
    Step("PUT", "/a/chunks", CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    Step("PUT", "/a/large", body=b"x" * 300_000),
    Step("PUT", "/a/collection/", body=b"x"),
    Step("PUT", "/a/dir", body=b"x"),
    Step("PUT", "/a/ranged", [("Content-Range", "bytes 0-0/2")], b"x"),
    Step("PUT", "/a/missing/x", body=b"x"),
    Step("PUT", "/full/1/2/3", body=b"x"),
    Step("PUT", "/alias/sub", body=b"x"),
    Step("PUT", "/off/new", body=b"x"),
    Step("PUT", "/only/new", body=b"x"),
    Step("DELETE", "/only/kept"),
    Step("PUT", "/modes/new", body=b"x"),
    Step("MKCOL", "/modes/made/"),
    Step("MKCOL", "/a/made/"),
    Step("MKCOL", "/a/made/"),
    Step("MKCOL", "/a/made"),
    Step("MKCOL", "/a/missing/made/"),
    Step("MKCOL", "/a/body/", body=b"x"),
    Step("MKCOL", "/a/body/", CHUNKED, b"1\r\nx\r\n0\r\n\r\n"),
    Step("COPY", "/a/new", to("/a/copied")),
    Step("COPY", "/a/new", to("/a/copied", ("Overwrite", "F"))),
    Step("COPY", "/a/new", to("/a/copied", ("Overwrite", "t"))),
    Step("COPY", "/a/new", to("/a/copied", ("Overwrite", "yes"))),
    Step("COPY", "/a/new", to("/a/copied", ("Depth", "0"))),
    Step("COPY", "/a/new", to("/a/copied", ("Depth", "1"))),
    Step("COPY", "/a/new", to("/a/co%20py")),
    Step("COPY", "/a/new", to("http://localhost/a/absolute")),
    Step("COPY", "/a/new", to("http://elsewhere/a/absolute")),
    Step("COPY", "/a/new", to("ftp://localhost/a/absolute")),
    Step("COPY", "/a/new", to("http://localhost")),
    Step("COPY", "/a/new", to("/a/../../outside")),
    Step("COPY", "/a/new", to("/a/%2e%2e/outside")),
    Step("COPY", "/a/new"),
    Step("COPY", "/a/new", to("/a/new/")),
    Step("COPY", "/a/new", to("/a/dir")),
    Step("COPY", "/a/none", to("/a/copied")),
    Step("COPY", "/a/new", to("/a/missing/x")),
    Step("COPY", "/a/dir", to("/a/dir2")),
    Step("COPY", "/a/dir/", to("/a/dir2")),
    Step("COPY", "/a/dir/", to("/a/dir2/")),
    Step("COPY", "/a/made/", to("/a/dir2/")),
    Step("COPY", "/a/dir/", to("/a/missing/x/")),
    Step("COPY", "/alias/file", to("/alias/copied")),
    Step("MOVE", "/a/copied", to("/a/moved")),
    Step("MOVE", "/a/moved", to("/a/deep/er/moved")),
    Step("MOVE", "/a/none", to("/a/moved")),
    Step("MOVE", "/a/new", to("/a/moved", ("Depth", "0"))),
    Step("MOVE", "/a/new", to("/a/moved"), b"x"),
    Step("MOVE", "/a/dir2/", to("/a/dir3/")),
    Step("MOVE", "/a/dir3/", to("/a/made/")),
    Step("DELETE", "/a/dated"),
    Step("DELETE", "/a/dated"),
    Step("DELETE", "/a/empty", body=b"x"),
    Step("DELETE", "/a/empty", [("Depth", "1")]),
    Step("DELETE", "/a/empty", [("Depth", "2")]),
    Step("DELETE", "/a/empty", [("Depth", "infinity")]),
    Step("DELETE", "/a/made", []),
    Step("DELETE", "/a/made/", [("Depth", "0")]),
    Step("DELETE", "/a/made/"),
    Step("DELETE", "/a/link"),
    Step("DELETE", "/a/large/"),
    Step("DELETE", "/deep/x"),
    Step("DELETE", "/deep/1/"),
    Step("DELETE", "/deep/1/2"),
]


def conf(port: int, folder: Path) -> str:
    methods = "dav_methods PUT DELETE MKCOL COPY MOVE"
    return f"""events {{}} http {{ access_log off; client_body_temp_path {folder}/temp; server {{
        listen {port}; server_name localhost; root {folder}/root; absolute_redirect off;
        location /a/ {{ {methods}; }}
        location /full/ {{ {methods}; create_full_put_path on; }}
        location /alias/ {{ alias {folder}/other/; {methods}; }}
        location /off/ {{ }}
        location /only/ {{ dav_methods PUT; }}
        location /modes/ {{ {methods}; dav_access group:rw all:r; }}
        location /deep/ {{ {methods}; min_delete_depth 3; }} }} }}"""


def made(folder: Path) -> None:
    for name in ("root/a/dir/sub", "root/full", "other", "root/off", "root/only", "root/modes", "root/deep/1"):
        (folder / name).mkdir(parents=True)
    for name in ("root/a/dir/1", "root/a/dir/sub/2", "root/only/kept", "root/deep/x", "root/deep/1/2", "other/file", "outside"):
        (folder / name).write_text(name)
        os.utime(folder / name, (1e9, 1e9))
    os.chmod(folder / "root/a/dir/1", 0o640)
    (folder / "root/a/link").symlink_to(folder / "outside")


def tree(folder: Path) -> dict[str, object]:
    """Return the mode, and the content or the target, of everything below a folder; times where they are not the present."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        if isinstance(content, str):
            content = os.path.basename(content)
        old = int(status.st_mtime) if status.st_mtime < 1.6e9 else None
        found[str(path.relative_to(folder))] = stat.S_IMODE(status.st_mode), content, old
    return found


def run(tmp_path: Path, program: Path | None) -> tuple[list[object], dict[str, object]]:
    folder = tmp_path / ("theirs" if program else "ours")
    made(folder)
    port = free_port()
    told: list[object] = []
    text = conf(port, folder)
    with run_nginx(text, tmp_path, program=program) if program else run_proxy(text, tmp_path):
        for step in STEPS:
            response = fetch(port, step.uri, step.method, step.headers, step.body)
            empty = response.get("Content-Length") if response.status < 300 else ""
            told.append((step, response.status, response.get("Location"), empty))
    found = tree(folder)
    return told, {name: value for name, value in found.items() if not name.startswith("temp")}


def test_responses_and_files_are_nginxs(tmp_path: Path) -> None:
    theirs, ours = run(tmp_path, full_nginx("http_dav_module")), run(tmp_path, None)
    assert [pair for pair in zip(ours[0], theirs[0], strict=True) if pair[0] != pair[1]] == []
    assert ours[1] == theirs[1]
    assert {status for _, status, *_ in ours[0]} >= {201, 204, 400, 404, 405, 409, 412, 415, 501}  # type: ignore[misc]


def test_a_body_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    import socket

    from tests.support import wait_until

    made(tmp_path)
    port = free_port()
    with run_proxy(conf(port, tmp_path), tmp_path):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"PUT /a/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
            wait_until(lambda: list((tmp_path / "temp").glob("*")), "the temporary file", 60)
        wait_until(lambda: not list((tmp_path / "temp").glob("*")), "its end", 60)
    assert not (tmp_path / "root/a/half").exists()


def test_the_body_is_limited(tmp_path: Path) -> None:
    made(tmp_path)
    port = free_port()
    text = conf(port, tmp_path).replace("access_log off;", "access_log off; client_max_body_size 4;")
    with run_proxy(text, tmp_path):
        assert fetch(port, "/a/large", "PUT", body=b"12345").status == 413
        assert fetch(port, "/a/large", "PUT", CHUNKED, b"5\r\n12345\r\n0\r\n\r\n").status == 413
        assert fetch(port, "/a/small", "PUT", CHUNKED, b"4\r\n1234\r\n0\r\n\r\n").status == 201
    assert not (tmp_path / "root/a/large").exists() and not list((tmp_path / "temp").glob("*"))
