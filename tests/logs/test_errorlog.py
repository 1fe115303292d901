"""The error log's lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorder, fetch, free_port, run_proxy, wait_until
from wsgi_proxy.config import CoreSettings, Location, ServerBlock
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.logs import errorlog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    logger = errorlog.logger
    before = (list(logger.handlers), logger.level, logger.propagate)
    errorlog.setup((("error.log", "info"),), str(tmp_path))
    yield tmp_path / "error.log"
    errorlog.setup((("stderr", "error"),))
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def exchange() -> Exchange:
    x = Exchange.from_environ(
        {"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/", "HTTP_HOST": "h", "REMOTE_ADDR": "1.2.3.4"}
    )
    x.target = "/\x1b[31m"
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


def test_a_place_of_its_own_and_its_level(log: Path, tmp_path: Path) -> None:
    own = ((str(tmp_path / "own.log"), "debug"), (str(tmp_path / "crit.log"), "crit"))
    quiet = ((str(tmp_path / "quiet.log"), "emerg"),)
    errorlog.setup((("error.log", "info"),), str(tmp_path), [own, quiet, own])
    for targets in (own, quiet, None):
        x = exchange()
        x.location = Location(core=CoreSettings(error_log=targets))
        errorlog.line("debug", "small", x)
        errorlog.line("crit", "large", x)
    errorlog.line("info", "of nobody")
    lines = (tmp_path / "own.log").read_text().splitlines()
    assert [line.partition("#0: ")[2].partition(",")[0] for line in lines] == ["small", "large"]
    assert (tmp_path / "crit.log").read_text().count("\n") == 1 and (tmp_path / "quiet.log").read_text() == ""
    assert "large" in log.read_text() and "of nobody" in log.read_text() and "small" not in log.read_text()
    (tmp_path / "own.log").rename(tmp_path / "old.log")
    errorlog.reopen()
    x.location = Location(core=CoreSettings(error_log=own))
    errorlog.line("crit", "again", x)
    assert "again" in (tmp_path / "own.log").read_text() and "again" not in (tmp_path / "old.log").read_text()


def test_a_place_that_cannot_be_opened_changes_nothing(log: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        errorlog.setup((("other.log", "info"),), str(tmp_path), [((str(tmp_path / "none" / "own.log"), "error"),)])
    errorlog.line("error", "as before")
    assert "as before" in log.read_text()


def test_the_workers_write_it(tmp_path: Path) -> None:
    text = f"""
worker_processes 1; error_log logs/main.log; events {{ worker_connections 64; }}
http {{ access_log off; server {{ listen 127.0.0.1:{free_port()};
    location / {{ proxy_pass http://127.0.0.1:{free_port()}; }}
    location /own/ {{ error_log logs/own.log crit; error_log logs/more.log; proxy_pass http://127.0.0.1:{free_port()}; }}
}} }}"""
    with run_proxy(text, tmp_path) as proxy:
        assert fetch(proxy.port, "/own/").status == fetch(proxy.port, "/main").status == 502
        logs = proxy.folder / "logs"
        wait_until(lambda: "/main" in (logs / "main.log").read_text(), "a line")
        assert "/own/" in (logs / "more.log").read_text() and "/main" not in (logs / "more.log").read_text()
        assert "/own/" not in (logs / "own.log").read_text() and "/own/" not in (logs / "main.log").read_text()


def test_a_server_that_goes_out_and_comes_back_is_one_line_each_at_the_default_level(tmp_path: Path) -> None:
    dead = free_port()
    with Recorder() as good:
        text = f"""worker_processes 2; error_log logs/main.log; events {{ worker_connections 64; }} http {{ access_log off;
            upstream u {{ server 127.0.0.1:{dead} max_fails=2 fail_timeout=1s; server {good.address}; }}
            server {{ listen 127.0.0.1:{free_port()}; location / {{ proxy_pass http://u; }} }} }}"""
        with run_proxy(text, tmp_path) as proxy:
            log = proxy.folder / "logs" / "main.log"
            name = f'server 127.0.0.1:{dead} of upstream "u"'

            def lines(state: str) -> list[str]:
                return [line for line in log.read_text().splitlines() if f"{name} is {state}" in line]

            def served(state: str, number: int) -> bool:
                assert fetch(proxy.port).status == 200
                return len(lines(state)) == number

            wait_until(lambda: served("out", 1), "the server to go out")
            assert "[error]" in lines("out")[0]
            last = "2 failures, the last: connect() failed (111: Connection refused) while connecting to upstream"
            assert lines("out")[0].endswith(f"is out for 1 s after {last}")
            # The probes of each second fail, and the server is out all the time.
            failures = log.read_text().count("connect() failed (111: Connection refused) while connecting to upstream, client")
            wait_until(lambda: served("out", 1) and log.read_text().count("upstream, client") > failures + 1, "two probes")
            assert len(lines("out")) == 1 and lines("back") == []
            with Recorder(port=dead):
                wait_until(lambda: served("back", 1), "the server to be back")
                assert lines("back")[0].endswith("is back: a request succeeded")
