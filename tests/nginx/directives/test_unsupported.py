"""The names of nginx's directives that are not supported."""

from __future__ import annotations

import pytest

from tests.support.directive import faults
from wsgi_proxy.nginx.directives import TABLE
from wsgi_proxy.nginx.directives.unsupported import UNSUPPORTED


@pytest.mark.parametrize("name", ["grpc_pass", "content_by_lua_block", "js_content", "geoip2_proxy", "acme_issuer"])
def test_well_known_names(name: str) -> None:
    assert name in UNSUPPORTED
    body = "{ return 'x; }' }" if name.endswith("_block") else "x;"
    assert faults(f"{name} {body}") == [f'directive "{name}" is not supported by wsgi_proxy']


def test_a_broken_block_of_lua() -> None:
    assert faults("content_by_lua_block x;")[0] == "expected { to start Lua block"


@pytest.mark.parametrize("name", ["foo", "more", "js", "fastcgi_", "fastcgi_x", "proxy_pas", "set_x"])
def test_other_names(name: str) -> None:
    assert name not in UNSUPPORTED
    assert faults(f"{name} x;") == [f'unknown directive "{name}"']


def test_nothing_that_we_have_is_among_them() -> None:
    assert not [name for name in TABLE if name in UNSUPPORTED]
