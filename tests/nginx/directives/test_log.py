"""`access_log` and `log_format`; their faults are in nginx_faults.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import fetch, free_port, run_proxy, wait_until
from tests.support.directive import faults, http, location, said
from wsgi_proxy.config import OpenLogFileCache
from wsgi_proxy.exchange import Exchange


def test_logs() -> None:
    logs = location(
        "access_log a; access_log /dev/stdout mine if=$arg_log; access_log /b combined buffer=4k flush=1m; access_log $host.log;",
        "log_format mine escape=json '{\"a\":' '\"$uri\"}';",
    ).core.access_log
    assert [log.format.name for log in logs] == ["combined", "mine", "combined", "combined"]
    assert [said(log.path) for log in logs[:3]] == ["/srv/x/a", "/dev/stdout", "/b"]
    assert [log.condition is not None for log in logs] == [False, True, False, False]
    assert getattr(logs[3].path, "constant", "") is None


def test_buffers_and_servers() -> None:
    plain, packed, sent = location(
        "access_log a combined buffer=8k flush=5s; access_log b combined gzip=3; access_log syslog:server=127.0.0.1,tag=web;"
    ).core.access_log
    assert (plain.buffer, plain.flush, plain.gzip) == (8192, 5.0, 0)
    assert (packed.buffer, packed.flush, packed.gzip) == (65536, 0.0, 3)
    assert sent.syslog == "syslog:server=127.0.0.1,tag=web"


def test_an_unknown_variable_in_a_format() -> None:
    assert faults("log_format mine $nothing;") == ['unknown "nothing" variable']
    assert http("log_format mine $host;").servers == ()


@pytest.mark.parametrize("parts", ["'$host' always", "'${host}' always", "'' '$host' '' always"])
def test_the_name_of_a_variable_ends_with_its_part(parts: str) -> None:
    (log,) = http(f"log_format mine {parts}; access_log a mine; server {{ }}").core.access_log
    exchange = Exchange()
    exchange.host = "h.example"
    assert log.format.template(exchange) == "h.examplealways"


def test_the_format_json_is_ready(tmp_path: Path) -> None:
    text = f"""worker_processes 1; events {{ worker_connections 64; }} http {{ access_log logs/a.json json; server {{
        listen 127.0.0.1:{free_port()}; location / {{ return 204; }} }} }}"""
    with run_proxy(text, tmp_path) as proxy:
        fetch(proxy.port, '/a?"b', headers=[("User-Agent", 'x"\\y'), ("traceparent", "00-1-2-01")])
        log = proxy.folder / "logs" / "a.json"
        wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "the line")
        found = json.loads(log.read_text())
    assert (found["status"], found["method"], found["uri"], found["client"]) == ("204", "GET", '/a?"b', "127.0.0.1")
    assert (found["user_agent"], found["traceparent"], found["upstream"]) == ('x"\\y', "00-1-2-01", "")
    (own,) = http('log_format json "mine"; access_log a json; server { }').core.access_log
    assert said(own.format.template) == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open_log_file_cache min_uses=1;", '"open_log_file_cache" must have "max" parameter'),
        ("open_log_file_cache max=x;", 'invalid "open_log_file_cache" parameter "max=x"'),
        ("open_log_file_cache max=1 inactive=x;", 'invalid "open_log_file_cache" parameter "inactive=x"'),
        ("open_log_file_cache max=1 more=1;", 'invalid "open_log_file_cache" parameter "more=1"'),
    ],
)
def test_the_faults_of_open_log_file_cache(text: str, message: str) -> None:
    assert faults(text) == [message]


def test_open_log_file_cache() -> None:
    assert location("open_log_file_cache max=9 inactive=20s valid=1m min_uses=2;").core.open_log_file_cache == OpenLogFileCache(
        9, 20.0, 60.0, 2
    )
    assert location("open_log_file_cache off;", "open_log_file_cache max=1;").core.open_log_file_cache is None
