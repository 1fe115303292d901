"""Destinations of proxy_pass: schemes, upstreams, URI parts and variables."""

from __future__ import annotations

import pytest

from tests.support.directive import http, location
from wsgi_proxy.config import ProxyPass


def passed(url: str, outside: str = "") -> ProxyPass:
    found = location(f"proxy_pass {url};", outside).proxy.pass_
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("url", "scheme", "upstream", "uri", "host"),
    [
        ("http://127.0.0.1", "http", "127.0.0.1:80", None, "127.0.0.1"),
        ("http://127.0.0.1/", "http", "127.0.0.1:80", "/", "127.0.0.1"),
        ("http://127.0.0.1:80/a?b", "http", "127.0.0.1:80", "/a?b", "127.0.0.1"),
        ("https://127.0.0.1", "https", "127.0.0.1:443", None, "127.0.0.1"),
        ("https://127.0.0.1:8443", "https", "127.0.0.1:8443", None, "127.0.0.1:8443"),
        ("http://[::1]:81/x", "http", "[::1]:81", "/x", "[::1]:81"),
        ("HTTP://Localhost:81", "http", "localhost:81", None, "localhost:81"),
        ("http://unix:/x.sock", "http", "unix:/x.sock", None, "localhost"),
        ("http://unix:/x.sock:/y/", "http", "unix:/x.sock", "/y/", "localhost"),
        ("http://u", "http", "u", None, "u"),
        ("https://u/v", "https", "u", "/v", "u"),
        ("http://U", "http", "u", None, "u"),
    ],
)
def test_where_to(url: str, scheme: str, upstream: str, uri: str | None, host: str) -> None:
    found = passed(url, "upstream u { server 127.0.0.1:1; }")
    assert (found.scheme, found.upstream, found.uri, found.host, found.template) == (scheme, upstream, uri, host, None)
    assert found.url == url


def test_an_upstream_may_come_later_in_the_file() -> None:
    config = http("server { location / { proxy_pass http://u; } } upstream u { server 127.0.0.1:1; }")
    assert list(config.upstreams) == ["u"]


def test_an_address_makes_one_pool_for_all_who_name_it() -> None:
    config = http("server { location /a { proxy_pass http://127.0.0.1:1; } location /b { proxy_pass http://127.0.0.1:1/x; } }")
    (pool,) = config.upstreams.values()
    assert (pool.name, [server.address for server in pool.servers]) == ("127.0.0.1:1", ["127.0.0.1:1"])


def test_with_variables() -> None:
    found = passed("https://$host$request_uri")
    assert (found.scheme, found.upstream, found.template is not None) == ("https", "", True)
