"""COPY and MOVE where wsgi_proxy differs from nginx; the rest is compared with nginx in test_dav.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import fetch, free_port, run_proxy

from .test_dav import conf, made, to, tree


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_nothing_is_written_into_itself(method: str, tmp_path: Path) -> None:
    """RFC 4918, section 9.8.5. nginx removes the source, or copies without an end."""
    made(tmp_path)
    before = tree(tmp_path / "root")
    port = free_port()
    with run_proxy(conf(port, tmp_path), tmp_path):
        for source, target in (("/a/dir/", "/a/dir/"), ("/a/dir/", "/a/dir/in/"), ("/a/dir/sub/", "/a/dir/")):
            assert fetch(port, source, method, to(target)).status == 403
        assert fetch(port, "/a/dir/1", method, to("/a/dir/1")).status == 403
        assert fetch(port, "/alias/file", method, to("/a/file")).status == 400
    assert tree(tmp_path / "root") == before
