"""The rewriters of `proxy_redirect`, `proxy_cookie_domain` and `proxy_cookie_path`: `(exchange, value) -> str | None`.

Rules (ngx_http_proxy_module, ngx_http_proxy_rewrite_*):
- A rewriter returns None for a value that it does not match, and the next rewriter is asked.
- A regular expression that matches replaces the whole value. `config.PrefixRewriter` replaces a prefix. A domain must be equal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...config import Template
    from ...exchange import Exchange


class Whole:
    """A rewriter that replaces the value if the regular expression is found in it. The replacement may use its captures."""

    __slots__ = ("new", "regex")

    def __init__(self, regex: re.Pattern[str], new: Template) -> None:
        self.regex = regex
        self.new = new

    def __call__(self, exchange: Exchange, value: str) -> str | None:
        match = self.regex.search(value)
        if match is None:
            return None
        exchange.captures = (match[0], *match.groups())
        for name, text in match.groupdict().items():
            if text is not None:
                exchange.variables[name.lower()] = text
        return self.new(exchange)


class Domain:
    """A rewriter that replaces a cookie's domain, ignoring case. A leading dot of the cookie's domain stays."""

    __slots__ = ("new", "old")

    def __init__(self, old: Template, new: Template) -> None:
        self.old = old
        self.new = new

    def __call__(self, exchange: Exchange, value: str) -> str | None:
        domain = value.removeprefix(".")
        if domain.lower() != self.old(exchange).lower():
            return None
        return value[: len(value) - len(domain)] + self.new(exchange)


class CookieName:
    """A test of a cookie's name for `proxy_cookie_flags`: a name in any case, or a regular expression."""

    __slots__ = ("name", "regex")

    def __init__(self, name: Template | None, regex: re.Pattern[str] | None) -> None:
        self.name = name
        self.regex = regex

    def __call__(self, exchange: Exchange, name: str) -> bool:
        if self.regex is not None:
            return self.regex.search(name) is not None
        return self.name is not None and self.name(exchange).lower() == name.lower()
