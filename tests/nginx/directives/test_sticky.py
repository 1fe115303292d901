"""`sticky`: cookies, routes and learned sessions, with nginx's faults."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.directive import faults, http
from wsgi_proxy.config import StickyLearn, StickyRoute

LEARN = "sticky learn create=$upstream_cookie_a lookup=$cookie_a"


def sticky(text: str, before: str = "") -> Any:
    return http(f"{before} upstream u {{ server 127.0.0.1:1; server 127.0.0.1:2; {text} }}").upstreams["u"].sticky


def test_a_route() -> None:
    found = sticky("sticky route $cookie_a $arg_b;")
    assert isinstance(found, StickyRoute)
    assert [each.text for each in found.variables] == ["$cookie_a", "$arg_b"]  # type: ignore[attr-defined]


def test_learned_sessions() -> None:
    found = sticky(f"{LEARN} lookup=$arg_a zone=s:1m;")
    assert isinstance(found, StickyLearn)
    assert (found.zone, found.size, found.timeout, found.header, found.sync) == ("s", 1 << 20, 600.0, False, False)
    assert (len(found.create), len(found.lookup)) == (1, 2)
    found = sticky(f"{LEARN} zone=s:32k timeout=1h header sync;", "wsgi_proxy_cluster redis://h;")
    assert (found.size, found.timeout, found.header, found.sync) == (32768, 3600.0, True, True)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sticky learn create=$upstream_cookie_a zone=s:1m;", '"sticky" directive "lookup" parameter is not specified'),
        ("sticky learn lookup=$cookie_a zone=s:1m;", '"sticky" directive "create" parameter is not specified'),
        (f"{LEARN};", '"sticky" directive "zone" parameter is not specified'),
        (f"{LEARN} zone=s;", '"sticky" directive zone size is not specified'),
        (f"{LEARN} zone=s:1k;", '"sticky" directive zone is too small'),
        ("sticky learn create=abc lookup=$cookie_a zone=s:1m;", '"sticky" directive missing variable in the "create" parameter'),
        (f"{LEARN} zone=s:1m timeout=x;", '"sticky" directive invalid timeout'),
        (f"{LEARN} zone=s:1m timeout=0;", '"sticky" directive invalid timeout'),
        (f"{LEARN} zone=s:1m foo;", 'unknown parameter "foo"'),
        (f"{LEARN} zone=s:1m; sticky cookie a;", '"sticky" directive is duplicate'),
        ("sticky route abc;", 'invalid variable name "abc"'),
        ("sticky route $nosuch;", 'unknown "nosuch" variable'),
        ("sticky route;", 'invalid number of arguments in "sticky" directive'),
        ("sticky foo a;", 'unknown parameter "foo"'),
        (f"{LEARN} zone=s:1m sync;", '"sync" of "sticky" needs "wsgi_proxy_cluster"'),
    ],
)
def test_faults(text: str, fault: str) -> None:
    """The messages are those of nginx 1.31; `sync` is NGINX Plus's."""
    found = faults(f"upstream u {{ server 127.0.0.1:1; server 127.0.0.1:2; {text} }}")
    assert any(each.startswith(fault) for each in found), found


def test_a_zone_belongs_to_one_upstream() -> None:
    text = "".join(f"upstream {name} {{ server 127.0.0.1:1; {LEARN} zone=s:1m; }}" for name in "uv")
    assert faults(text)[0].startswith('sticky zone "s" is already used in upstream "u"')
