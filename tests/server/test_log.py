"""log: gunicorn's lines in the configuration's error log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import Config as GunicornConfig

from wsgi_proxy.logs import errorlog
from wsgi_proxy.server.log import ServerLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ServerLog]:
    errorlog.setup(((str(tmp_path / "error.log"), "info"),))
    yield ServerLog(GunicornConfig())
    errorlog.setup((("stderr", "error"),))


def test_lines_have_nginx_s_form(log: ServerLog, tmp_path: Path) -> None:
    log.info("hello %d", 1)
    log.error("bad")
    log.debug("not asked for")
    lines = (tmp_path / "error.log").read_text().splitlines()
    assert [line.split(" ", 2)[2].partition("]")[0] for line in lines] == ["[info", "[error"] and lines[0].endswith("hello 1")


def test_reopening(log: ServerLog, tmp_path: Path) -> None:
    log.error("before")
    (tmp_path / "error.log").rename(tmp_path / "old.log")
    log.reopen_files()
    log.error("after")
    assert "before" in (tmp_path / "old.log").read_text() and "after" in (tmp_path / "error.log").read_text()


def test_it_writes_no_access_log(log: ServerLog) -> None:
    assert not log.access_log_enabled
    log.close_on_exec()
