"""Compressed files beside the requested ones. tests/differential/test_gzip.py compares the responses with nginx's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.routing import Ours, Pairs

GZIP = [("Accept-Encoding", "gzip")]


def site(tmp_path: Path, text: str) -> Ours:
    for name in ("a.html", "a.html.gz", "only.html.gz"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.html.gz").mkdir(exist_ok=True)
    return Ours(f"events {{}} http {{ server {{ root {tmp_path}; {text} }} }}", 80, str(tmp_path))


def asked(ours: Ours, target: str, fields: Pairs, method: str = "GET") -> tuple[int, str | None, bytes, bool]:
    """(status, Content-Encoding, body, varies)"""
    x, response = ours.exchange(method, target, [("Host", "a"), *fields])
    with_body = b"" if response.status != 200 else b"".join(response.body)
    response.close()
    return response.status, response.header("content-encoding"), with_body, x.varies


def test_a_client_that_accepts_gzip_gets_the_compressed_file(tmp_path: Path) -> None:
    ours = site(tmp_path, "gzip_static on;")
    assert asked(ours, "/a.html", GZIP) == (200, "gzip", b"a.html.gz", True)
    assert asked(ours, "/a.html", []) == (200, None, b"a.html", False)
    assert asked(ours, "/only.html", GZIP) == (200, "gzip", b"only.html.gz", True)
    assert asked(ours, "/folder.html", GZIP)[0] == 404
    assert asked(ours, "/a.html", GZIP, "HEAD") == (200, "gzip", b"", True)
    assert asked(ours, "/a.html", GZIP, "POST")[0] == 405


def test_vary_is_for_files_that_have_a_compressed_one(tmp_path: Path) -> None:
    ours = site(tmp_path, "gzip_static on; gzip_vary on;")
    assert asked(ours, "/a.html", [])[3] and asked(ours, "/only.html", []) == (404, None, b"", True)
    (tmp_path / "b.html").write_text("b")
    assert not asked(ours, "/b.html", [])[3]


def test_always_asks_no_client(tmp_path: Path) -> None:
    assert asked(site(tmp_path, "gzip_static always;"), "/a.html", []) == (200, "gzip", b"a.html.gz", False)


def test_brotli_comes_first(tmp_path: Path) -> None:
    ours = site(tmp_path, "gzip_static on; brotli_static on;")
    (tmp_path / "a.html.br").write_text("br")
    both = [("Accept-Encoding", "gzip, br")]
    assert asked(ours, "/a.html", both) == (200, "br", b"br", True)
    assert asked(ours, "/a.html", GZIP)[:3] == (200, "gzip", b"a.html.gz")
    assert asked(ours, "/only.html", both)[:3] == (200, "gzip", b"only.html.gz")


def test_no_part_of_a_compressed_file_is_sent(tmp_path: Path) -> None:
    ours = site(tmp_path, "gzip_static on;")
    assert asked(ours, "/a.html", [*GZIP, ("Range", "bytes=0-1")])[:3] == (200, "gzip", b"a.html.gz")
    response = ours.exchange("GET", "/a.html", [("Host", "a"), *GZIP])[1]
    response.close()
    assert response.header("accept-ranges") is None


def test_a_file_that_cannot_be_opened_counts_as_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = site(tmp_path, "gzip_static on;")
    (tmp_path / "a.html.gz").unlink()
    (tmp_path / "a.html.gz").symlink_to(tmp_path / "a.html.gz")
    assert asked(ours, "/a.html", GZIP)[:3] == (200, None, b"a.html")
    assert "a.html.gz" in caplog.text and os.strerror(40) in caplog.text
