"""ngx_http_core_module's settings."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, location, said, server


def test_keepalive() -> None:
    core = location("keepalive_timeout 7s 8s; keepalive_requests 9; keepalive_time 10m;").core
    assert (core.keepalive_timeout, core.keepalive_timeout_header, core.keepalive_requests, core.keepalive_time) == (7, 8, 9, 600)
    assert location("keepalive_timeout 5s;", "keepalive_timeout 7s 8s;").core.keepalive_timeout_header is None


@pytest.mark.parametrize(
    ("written", "codes", "uri", "response"),
    [
        ("404 /a", {404}, "/a", None),
        ("500 502 @b", {500, 502}, "@b", None),
        ("404 = /c", {404}, "/c", 0),
        ("404 =200 /d", {404}, "/d", 200),
        ("404 =301 http://e/", {404}, "http://e/", 301),
    ],
)
def test_error_pages(written: str, codes: set[int], uri: str, response: int | None) -> None:
    (page,) = location(f"error_page {written};").core.error_page
    assert (set(page.codes), said(page.uri), page.response) == (codes, uri, response)


def test_name_servers() -> None:
    core = location("resolver 127.0.0.1 [::1]:5353 valid=9s; resolver_timeout 3s;").core
    assert (core.resolver, core.resolver_valid, core.resolver_timeout) == (("127.0.0.1", "[::1]:5353"), 9.0, 3.0)
    assert faults("resolver 127.0.0.1:0;") == ['invalid port in resolver "127.0.0.1:0"']


def test_rates_may_have_variables() -> None:
    core = location("limit_rate 8k; limit_rate_after $arg_after;").core
    assert said(core.limit_rate) == "8192"
    assert core.limit_rate_after is not None and core.limit_rate_after.constant is None  # type: ignore[attr-defined]


def test_limits_of_a_servers_requests() -> None:
    text = (
        "client_header_timeout 3s; large_client_header_buffers 2 4k; max_headers 50; "
        "underscores_in_headers on; merge_slashes off;"
    )
    for found in (server(text), server("", text)):
        assert (found.client_header_timeout, found.large_client_header_buffers, found.max_headers) == (3.0, (2, 4096), 50)
        assert (found.underscores_in_headers, found.merge_slashes, found.ignore_invalid_headers) == (True, False, True)


def test_types_twice_are_one_table_and_a_change_is_told() -> None:
    core = location("types { text/x a b; } types { text/y c; }").core
    assert core.types == {"a": "text/x", "b": "text/x", "c": "text/y"}
    assert faults("types { text/x; }") == ['invalid number of arguments in "text/x" directive']


def test_internal() -> None:
    assert location("internal;").guard.internal and not location("").guard.internal


@pytest.mark.parametrize("written", ["0", "0k"])
def test_a_buffer_for_bodies_has_a_size(written: str) -> None:
    assert faults(f"client_body_buffer_size {written};") == ["client body buffer size cannot be zero"]
