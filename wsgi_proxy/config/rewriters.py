"""The rewriters of `proxy_redirect` and `proxy_cookie_path` that replace a prefix.

Rules (ngx_http_proxy_module, ngx_http_proxy_rewrite_complex_handler):
- A rewriter returns None for a value that it does not match, and the next rewriter is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import ProxyPass

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .model import Template


class PrefixRewriter:
    """A rewriter that replaces a prefix. Either side is a text or a template."""

    __slots__ = ("new", "old")

    def __init__(self, old: str | Template, new: str | Template) -> None:
        self.old = old
        self.new = new

    def __call__(self, exchange: Exchange, value: str) -> str | None:
        old = self.old if isinstance(self.old, str) else self.old(exchange)
        if not value.startswith(old):
            return None
        return (self.new if isinstance(self.new, str) else self.new(exchange)) + value[len(old) :]


def default_redirect(target: ProxyPass, prefix: str) -> PrefixRewriter:
    """Return the rewriter of `proxy_redirect default` for a `proxy_pass` without variables in the location of a prefix.

    The URL gives way to the prefix, and without a URI, where the client's URI is passed on whole, to the root.
    """
    if target.uri is None:
        return PrefixRewriter(target.url + "/", "/")
    return PrefixRewriter(target.url, prefix)
