"""static: what test_static_differential cannot show: that no path leads out, that files are closed, and what a body is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.routing_support import Ours
from wsgi_proxy.exchange import Answer, FileBody

HOST = ("Host", "h")


@pytest.fixture
def root(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(100, "wsgi_proxy")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "w" / "sub").mkdir(parents=True)
    (tmp_path / "w" / "sub" / "b").write_text("bb")
    (tmp_path / "w" / "a.txt").write_text("0123456789")
    (tmp_path / "w" / "..odd").write_text("odd")
    return tmp_path / "w"


def ours(text: str) -> Ours:
    return Ours(f"events {{}} http {{ server {{ listen 80; {text} }} }}", 80)


def open_files() -> set[str]:
    handles = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return {os.readlink(handle) for handle in handles if os.path.exists(handle)}


@pytest.mark.parametrize(
    "target",
    ["/../secret", "/%2e%2e/secret", "/sub/../../secret", "/i../secret", "/i..%2fsecret", "/i/..%2f..%2fsecret", "/r/../secret",
     "/a.txt%00.html", "/host", "/v?d=..", "/v/../secret?d=.", "/x?f=../secret"],
)  # fmt: skip
def test_nothing_above_the_root_is_ever_served(root: Path, target: str) -> None:
    side = ours(
        f"root {root}; location /i {{ alias {root}/sub/; }} location ~ ^/r(.*)$ {{ alias {root}/sub$1; }}"
        f" location /v {{ root {root}/$arg_d; try_files /secret =404; }} location /x {{ try_files /$arg_f =404; }}"
        f" location /host {{ alias {root}/$http_x; }}"
    )
    status, _, _, body = side.ask("GET", target, [HOST, ("X", "../secret")])
    assert status in (400, 404) and b"secret" not in body


def test_names_with_dots_are_names(root: Path) -> None:
    assert ours(f"root {root};").ask("GET", "/..odd", [HOST])[3] == b"odd"


def test_the_configuration_itself_may_go_upwards(root: Path) -> None:
    assert ours(f"root {root}/sub/..;").ask("GET", "/a.txt", [HOST])[0] == 200


def test_a_file_is_a_file_body_until_it_is_closed(root: Path) -> None:
    answer = ours(f"root {root};").exchange("GET", "/a.txt", [HOST, ("Range", "bytes=2-5")])[1]
    assert isinstance(answer.body, FileBody) and (answer.body.offset, answer.body.count) == (2, 4)
    assert str(root / "a.txt") in open_files()
    assert b"".join(answer.body) == b"2345"
    answer.close()
    assert str(root / "a.txt") not in open_files()


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("HEAD", []), ("POST", []), ("GET", [("If-None-Match", "*")]), ("GET", [("If-Match", '"x"')]),
        ("GET", [("Range", "bytes=99-")]), ("HEAD", [("Range", "bytes=0-0,2-2")]),
    ],
)  # fmt: skip
def test_no_file_stays_open_behind_an_answer_without_it(root: Path, method: str, fields: list[Any]) -> None:
    answer: Answer = ours(f"root {root};").exchange(method, "/a.txt", [HOST, *fields])[1]
    assert str(root / "a.txt") not in open_files()
    answer.close()


def test_several_ranges_can_be_read_and_closed(root: Path) -> None:
    answer = ours(f"root {root};").exchange("GET", "/a.txt", [HOST, ("Range", "bytes=0-1,-1")])[1]
    body = b"".join(answer.body)
    assert len(body) == answer.length and body.count(b"Content-Range: bytes ") == 2
    answer.close()
    assert str(root / "a.txt") not in open_files()


def test_what_is_no_file(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(root / "fifo")
    caplog.set_level(0, "wsgi_proxy")
    assert ours(f"root {root};").ask("GET", "/fifo", [HOST])[0] == 404
    assert "is not a regular file" in caplog.text


def test_missing_files_are_logged_unless_told_otherwise(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0, "wsgi_proxy")
    assert ours(f"root {root}; log_not_found off;").ask("GET", "/none", [HOST])[0] == 404
    assert not caplog.text
    assert ours(f"root {root};").ask("GET", "/none", [HOST])[0] == 404
    assert f'open() "{root}/none" failed (2: No such file or directory)' in caplog.text


@pytest.mark.skipif("__import__('os').geteuid() == 0", reason="root may read everything")
def test_a_file_that_may_not_be_read(root: Path) -> None:
    (root / "a.txt").chmod(0)
    assert ours(f"root {root};").ask("GET", "/a.txt", [HOST])[0] == 403


def test_names_that_are_not_utf_8(root: Path) -> None:
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff"))).write_text("ff")
    assert ours(f"root {root};").ask("GET", "/%ff", [HOST])[3] == b"ff"
