"""The rewriters of a Location and of a cookie's attributes."""

from __future__ import annotations

import re
from typing import Any

from wsgi_proxy.nginx.directives.rewriters import CookieName, Domain, Whole
from wsgi_proxy.variables.names import Names, compile_text

NAMES = Names()


class Request:
    """The attributes of an exchange that a rewriter uses."""

    def __init__(self) -> None:
        self.captures: tuple[str | None, ...] = ()
        self.variables: dict[str, str] = {}
        self.host = "h"


def text(written: str) -> Any:
    return compile_text(written, NAMES)


X: Any = Request()


def test_a_regular_expression_replaces_the_whole_value() -> None:
    x: Any = Request()
    assert Whole(re.compile(r"//(?P<Who>\w+)/"), text("$1!"))(x, "http://me/x") == "me!"
    assert (x.captures, x.variables) == (("//me/", "me"), {"who": "me"})
    assert Whole(re.compile("x"), text("y"))(x, "abc") is None


def test_a_domain_is_compared_without_its_dot_and_case() -> None:
    rewrite = Domain(text("Example.org"), text("b.org"))
    assert (rewrite(X, ".example.ORG"), rewrite(X, "example.org")) == (".b.org", "b.org")
    assert rewrite(X, "www.example.org") is None


def test_a_cookies_name() -> None:
    assert CookieName(text("a"), None)(X, "A")
    assert not CookieName(text("a"), None)(X, "ab")
    assert CookieName(None, re.compile("^s"))(X, "sid")
