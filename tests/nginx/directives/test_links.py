"""Directives for referers and secure links."""

from __future__ import annotations

import re

from tests.support.directive import faults, location


def test_referers() -> None:
    found = location(r"valid_referers none blocked server_names *.example.org ~\.google\.;").guard.valid_referers
    assert found is not None
    *words, pattern = found
    assert words == ["none", "blocked", "server_names", "*.example.org"]
    assert isinstance(pattern, re.Pattern)


def test_a_link_takes_the_place_of_an_inherited_secret() -> None:
    inner = location("location /a/b { secure_link $arg_md5; secure_link_md5 x; }", "secure_link_secret s;").locations[0].guard
    assert inner.secure_link is not None and inner.secure_link_secret == ""


def test_secure_links() -> None:
    guard = location("secure_link $arg_md5,$arg_expires; secure_link_md5 'x $uri';").guard
    assert guard.secure_link is not None and guard.secure_link_md5 is not None
    assert location("secure_link_secret s;").guard.secure_link_secret == "s"
    message = '"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"'
    assert faults("secure_link a; secure_link_secret s;") == [message]
