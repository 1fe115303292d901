"""Settings in force at each level: inherited, replaced, merged."""

from __future__ import annotations

from tests.support.directive import faults, http, location, said, server
from wsgi_proxy.config import If


def test_a_value_set_here_replaces_the_inherited() -> None:
    text = "server { proxy_read_timeout 2s; location / { } location /b { proxy_read_timeout 3s; location /b/c { } } }"
    (block,) = http("proxy_read_timeout 1s; " + text).servers
    one, two = block.locations
    assert block.settings.proxy.read_timeout == one.proxy.read_timeout == 2
    assert two.proxy.read_timeout == two.locations[0].proxy.read_timeout == 3


def test_a_list_is_inherited_only_where_there_is_none() -> None:
    text = "proxy_set_header A 1; location / { } location /b { proxy_set_header B 2; location /b/c { } }"
    block = server(text, "proxy_set_header X 0;")
    one, two = block.locations
    assert [name for name, _ in one.proxy.set_header or ()] == ["A"]
    assert [name for name, _ in two.proxy.set_header or ()] == ["B"]
    assert [name for name, _ in two.locations[0].proxy.set_header or ()] == ["B"]


def test_off_is_a_list_of_its_own() -> None:
    assert location("access_log off;", "access_log /x;").core.access_log == ()
    assert len(location("", "access_log /x; access_log /y;").core.access_log) == 2


def test_what_answers_is_not_inherited() -> None:
    text = "location /a/ { proxy_pass http://127.0.0.1:1; try_files x =404; health_check; location /a/b { } }"
    (outer,) = server(text).locations
    (inner,) = outer.locations
    assert (outer.handler, inner.handler, inner.proxy.pass_) == ("proxy_pass", "", None)
    assert outer.core.try_files and not inner.core.try_files
    assert outer.proxy.health_checks and not inner.proxy.health_checks


def test_an_if_keeps_what_answers_around_it() -> None:
    found = location("proxy_pass http://127.0.0.1:1/x/; if ($host) { limit_rate 1; } if ($args) { return 204; }")
    first, second = found.script
    assert isinstance(first, If) and isinstance(second, If)
    assert first.location is not None
    assert (first.location.kind, first.location.pattern, first.location.handler) == ("", "/", "proxy_pass")
    assert first.location.proxy.pass_ == found.proxy.pass_
    assert said(first.location.core.limit_rate) == "1" and found.core.limit_rate is None
    assert second.location is None and len(second.script) == 1


def test_root_and_alias_take_each_others_place() -> None:
    (outer,) = server("root /r; location /a { alias /b; location /a/c { } location /a/d { root /d; } }").locations
    aliased, rooted = outer.locations
    assert (said(aliased.core.alias), aliased.core.root) == ("/b", None)
    assert (rooted.core.alias, said(rooted.core.root)) == (None, "/d")


def test_headers_merge_where_it_is_asked() -> None:
    outside = "add_header A 1; add_header_inherit merge;"
    assert [header.name for header in location("add_header B 2;", outside).core.add_header] == ["A", "B"]
    assert location("add_header_inherit off;", "add_header A 1;").core.add_header == ()


def test_tls_to_upstreams_is_part_of_forwarding() -> None:
    found = location("proxy_read_timeout 5s;", "proxy_ssl_verify on; proxy_ssl_name a;")
    assert found.proxy.tls.verify and said(found.proxy.tls.name) == "a"
    assert location("proxy_ssl_verify off;", "proxy_ssl_verify on; proxy_ssl_name a;").proxy.tls.verify is False


def test_verifying_needs_a_certificate() -> None:
    text = "proxy_ssl_verify on; server { location / { proxy_pass https://127.0.0.1; } }"
    assert faults(text) == ["no proxy_ssl_trusted_certificate for proxy_ssl_verify"]
