"""The inheritance of settings, and its exceptions."""

from __future__ import annotations

from pathlib import Path

from tests.support.directive import http, location, said, server
from wsgi_proxy.config import If
from wsgi_proxy.nginx import reader as nginx


def test_locations_that_set_nothing_share_their_settings() -> None:
    one, two = server("proxy_read_timeout 5s; location /a { } location /b { expires 1h; }").locations
    assert one.proxy is two.proxy
    assert one.core is not two.core


def test_limit_except_has_rules_of_its_own() -> None:
    found = location("allow all; limit_except GET POST { deny all; } if ($host) { limit_rate 1; }")
    assert found.guard.limit_except is not None
    methods, inner = found.guard.limit_except
    assert methods == {"GET", "HEAD", "POST"}
    assert [rule.allow for rule in inner.access] == [False]
    assert [rule.allow for rule in found.guard.access] == [True]
    assert isinstance(found.script[0], If) and found.script[0].location is not None
    assert found.script[0].location.guard.limit_except == found.guard.limit_except


def test_defaults_of_a_server_and_the_types() -> None:
    block = http("server { }").servers[0]
    assert block.names == ("",) and len(block.listens) == 1
    assert block.settings.core.types == {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}
    assert location("", "types { text/a a A2; } default_type x/y;").core.types == {"a": "text/a", "a2": "text/a"}


def test_the_default_log_is_where_its_folder_is(tmp_path: Path) -> None:
    text = "events {} http { server { } }"
    assert nginx.loads(text, prefix=str(tmp_path)).core.access_log == ()
    (tmp_path / "logs").mkdir()
    (log,) = nginx.loads(text, prefix=str(tmp_path)).core.access_log
    assert said(log.path) == f"{tmp_path}/logs/access.log" and log.format.name == "combined"
