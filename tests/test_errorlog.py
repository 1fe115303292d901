"""The error log's lines."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgi_proxy import errorlog
from wsgi_proxy.config import ServerBlock
from wsgi_proxy.exchange import Exchange


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    logger = errorlog.logger
    before = (list(logger.handlers), logger.level, logger.propagate)
    errorlog.setup((("error.log", "info"),), str(tmp_path))
    yield tmp_path / "error.log"
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def exchange() -> Exchange:
    x = Exchange({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/\x1b[31m", "HTTP_HOST": "h", "REMOTE_ADDR": "1.2.3.4"})
    x.server = ServerBlock(names=("n",))
    return x


def test_a_line_says_whose_request_and_which_upstream(log: Path) -> None:
    errorlog.line("error", "it broke", exchange(), "http://a:1")
    text = log.read_text()
    assert re.match(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#0: it broke, client: 1\.2\.3\.4, server: n, request: ", text)
    assert text.endswith('upstream: "http://a:1", host: "h"\n')


def test_control_characters_of_a_client_do_not_reach_the_log(log: Path) -> None:
    errorlog.line("error", "it broke", exchange())
    assert "\x1b" not in log.read_text() and r"\x1B[31m" in log.read_text()


def test_levels(log: Path) -> None:
    assert errorlog.enabled("notice") and not errorlog.enabled("debug")
    errorlog.line("debug", "quiet")
    assert log.read_text() == ""
    try:
        raise ValueError("why")
    except ValueError:
        errorlog.logger.exception("defect")
    assert log.read_text().count("\n") == 1 and "ValueError: why" in log.read_text()


def test_setting_up_again_replaces(log: Path, tmp_path: Path) -> None:
    errorlog.setup((("other.log", "crit"),), str(tmp_path))
    errorlog.line("error", "below")
    errorlog.line("crit", "above")
    assert log.read_text() == "" and "above" in (tmp_path / "other.log").read_text()
    assert len([handler for handler in errorlog.logger.handlers if isinstance(handler, errorlog._FileHandler)]) == 1
