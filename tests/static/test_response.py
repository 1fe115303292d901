"""File responses beyond `tests/differential/test_static.py`: closed files, and the kinds of bodies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.routing import Ours
from wsgi_proxy.response import FileBody, Response

HOST = ("Host", "h")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("0123456789")
    (tmp_path / "empty").write_text("")
    return tmp_path


def ours(text: str) -> Ours:
    return Ours(f"events {{}} http {{ server {{ listen 80; {text} }} }}", 80)


def open_files() -> set[str]:
    handles = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return {os.readlink(handle) for handle in handles if os.path.exists(handle)}


def test_a_file_is_a_file_body_until_it_is_closed(root: Path) -> None:
    response = ours(f"root {root};").exchange("GET", "/a.txt", [HOST, ("Range", "bytes=2-5")])[1]
    assert isinstance(response.body, FileBody) and (response.body.offset, response.body.count) == (2, 4)
    assert str(root / "a.txt") in open_files()
    assert b"".join(response.body) == b"2345"
    response.close()
    assert str(root / "a.txt") not in open_files()


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("HEAD", []), ("POST", []), ("GET", [("If-None-Match", "*")]), ("GET", [("If-Match", '"x"')]),
        ("GET", [("Range", "bytes=99-")]), ("HEAD", [("Range", "bytes=0-0,2-2")]),
    ],
)  # fmt: skip
def test_no_file_stays_open_behind_an_answer_without_it(root: Path, method: str, fields: list[Any]) -> None:
    response: Response = ours(f"root {root};").exchange(method, "/a.txt", [HOST, *fields])[1]
    assert str(root / "a.txt") not in open_files()
    response.close()


def test_several_ranges_can_be_read_and_closed(root: Path) -> None:
    response = ours(f"root {root};").exchange("GET", "/a.txt", [HOST, ("Range", "bytes=0-1,-1")])[1]
    body = b"".join(response.body)
    assert len(body) == response.length and body.count(b"Content-Range: bytes ") == 2
    response.close()
    assert str(root / "a.txt") not in open_files()


def test_an_empty_file_is_answered_and_closed(root: Path) -> None:
    response = ours(f"root {root};").exchange("GET", "/empty", [HOST])[1]
    assert (response.status, response.length, list(response.body)) == (200, 0, [])
    assert str(root / "empty") not in open_files()


def test_a_file_that_became_shorter_does_not_look_complete(root: Path) -> None:
    response = ours(f"root {root};").exchange("GET", "/a.txt", [HOST])[1]
    (root / "a.txt").write_text("0")
    with pytest.raises(EOFError):
        b"".join(response.body)
    response.close()
