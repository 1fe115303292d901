"""The rewriters that replace a prefix."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wsgi_proxy.config import PrefixRewriter, ProxyPass, default_redirect

EXCHANGE: Any = SimpleNamespace(host="h")


def test_a_prefix_of_texts_or_templates() -> None:
    for rewrite in (
        PrefixRewriter(lambda exchange: f"http://{exchange.host}/a/", lambda exchange: f"/{exchange.host}/"),
        PrefixRewriter("http://h/a/", "/h/"),
    ):
        assert rewrite(EXCHANGE, "http://h/a/c") == "/h/c"
        assert rewrite(EXCHANGE, "http://other/a/c") is None


@pytest.mark.parametrize(
    ("url", "uri", "prefix", "location", "expected"),
    [
        ("http://up", None, "/app", "http://up/x", "/x"),
        ("http://up", None, r"^/a(\d)", "http://up/x", "/x"),
        ("http://up", None, "@named", "http://up/x", "/x"),
        ("http://up/b/", "/b/", "/app/", "http://up/b/x", "/app/x"),
        ("http://up/b/", "/b/", "/app/", "http://up/x", None),
    ],
)
def test_the_default_of_proxy_redirect(url: str, uri: str | None, prefix: str, location: str, expected: str | None) -> None:
    assert default_redirect(ProxyPass(url, uri=uri), prefix)(EXCHANGE, location) == expected
