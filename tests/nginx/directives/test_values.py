"""Times, sizes, numbers and texts as nginx reads them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.directive import faults, location, said
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.nginx.directives.values import parse_number, parse_size, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1m30s", 90), ("1m 30s", 90), ("500ms", 0.5), ("1h", 3600), ("1d", 86400), ("1w", 604800), ("1M", 2592000),
     ("1y", 31536000), ("1s500ms", 1.5), ("0", 0), ("1m30", 90)],
)  # fmt: skip
def test_a_time(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1x", "30s1m", "1m1m", "1 30", "s", "1.5s", " 1"])
def test_what_is_no_time(text: str) -> None:
    assert parse_time(text) is None


def test_milliseconds_only_where_nginx_has_them() -> None:
    assert parse_time("500ms", milliseconds=False) is None
    assert parse_time("5m", milliseconds=False) == 300


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("8k", 8192), ("8K", 8192), ("10m", 10 << 20), ("1M", 1 << 20)]
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1g", "1kk", "1 k", "x", "١"])
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


def test_gigabytes_are_for_offsets() -> None:
    assert parse_size("2g", "kmg") == 2 << 30


def test_a_number() -> None:
    assert (parse_number("7"), parse_number(""), parse_number("-7"), parse_number("9" * 30)) == (7, None, None, None)


def test_values_in_their_places() -> None:
    text = "proxy_read_timeout 1m30s; proxy_buffer_size 8k; proxy_buffers 16 8k; client_max_body_size 1g; proxy_buffering OFF;"
    found = location(text)
    assert found.proxy.read_timeout == 90
    assert (found.proxy.buffer_size, found.proxy.buffers) == (8192, (16, 8192))
    assert found.core.client_max_body_size == 1 << 30
    assert found.proxy.buffering is False


def test_faults_of_values() -> None:
    assert faults("proxy_buffering maybe;") == ['invalid value "maybe" in "proxy_buffering" directive, it must be "on" or "off"']
    assert faults("limit_req_status 200;") == ["value must be between 400 and 599"]


def test_names_of_files_are_absolute_in_the_end() -> None:
    x: Any = type("X", (), {"host": "h", "target": "/t"})()
    logs = location("access_log a; access_log /b; access_log $host.log; access_log $request_uri;").core.access_log
    assert [log.path(x) for log in logs] == ["/srv/x/a", "/b", "/srv/x/h.log", "/t"]
    assert [getattr(log.path, "constant", 0) for log in logs] == ["/srv/x/a", "/b", None, None]


def test_a_folder_with_a_dollar_is_no_variable() -> None:
    config = nginx.loads("events {} http { root web; }", prefix="/srv/$money")
    assert said(config.core.root) == "/srv/$money/web"
