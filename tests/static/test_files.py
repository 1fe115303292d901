"""Static files beyond `tests/differential/test_static.py`: paths that leave the root, special files, and the log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.routing import Ours

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
