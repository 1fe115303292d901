"""Configurations made in Python."""

from __future__ import annotations

import pytest

from wsgi_proxy.errors import ConfigError
from wsgi_proxy.wsgi.python_config import config_for_pool, config_for_targets, normal_prefix


@pytest.mark.parametrize(("given", "normal"), [("/a", "/a/"), ("a/", "/a/"), ("/", "/"), ("", "/"), ("/a/b/", "/a/b/")])
def test_prefixes_are_werkzeugs(given: str, normal: str) -> None:
    assert normal_prefix(given) == normal


def test_a_pool_gets_everything() -> None:
    (server,) = config_for_pool("p", "https").servers
    (location,) = server.locations
    assert location.pattern == "/" and location.proxy.pass_ is not None
    assert (location.proxy.pass_.scheme, location.proxy.pass_.upstream) == ("https", "p")
    assert not location.proxy.request_buffering and location.core.client_max_body_size == 0


@pytest.mark.parametrize(
    ("target", "options", "uri", "address"),
    [
        ("http://a", {}, None, "a:80"),
        ("https://a", {}, None, "a:443"),
        ("http://a:81/base/", {}, "/base/x/", "a:81"),
        ("http://a/base", {"remove_prefix": True}, "/base/", "a:80"),
        ("http://[::1]:82", {"remove_prefix": True}, "/", "[::1]:82"),
    ],
)
def test_targets(target: str, options: dict[str, bool], uri: str | None, address: str) -> None:
    config = config_for_targets({"/x/": {"target": target, **options}}, 5.0)
    (location,) = config.servers[0].locations
    assert location.proxy.pass_ is not None and location.proxy.pass_.uri == uri
    assert location.proxy.read_timeout == 5.0
    (upstream,) = config.upstreams.values()
    assert upstream.servers[0].address == address


def test_a_template_in_a_header_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\$"):
        config_for_targets({"/": {"target": "http://a", "headers": {"X": "$host"}}}, 1)
