"""The character set in Content-Type."""

from __future__ import annotations

import pytest

from tests.support.caching import Constant
from wsgi_proxy.config import CoreSettings, Location
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters import compile_filters
from wsgi_proxy.response import Response


def named(before: str, charset: str, status: int = 200) -> Response:
    response = Response(status, [("Content-Type", before)])
    response.source = object()
    filters = compile_filters(Location(core=CoreSettings(charset=lambda x: charset)))
    assert filters is not None
    filters(Exchange(), response)
    return response


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Each as nginx 1.31 does it.
        ("text/html", "text/html; charset=utf-8"),
        ("application/javascript", "application/javascript; charset=utf-8"),
        ("text/html; charset=koi8-r", "text/html; charset=koi8-r"),
        ("application/json", "application/json"),
        ("image/png", "image/png"),
    ],
)
def test_charset_is_named_where_nothing_names_one(before: str, after: str) -> None:
    assert named(before, "utf-8").headers == [("Content-Type", after)]


def test_a_charset_that_is_off_or_empty_names_nothing() -> None:
    for value in ("", "off"):
        assert named("text/html", value).headers == [("Content-Type", "text/html")]
    assert compile_filters(Location(core=CoreSettings(charset=Constant("off")))) is None


def test_a_redirect_is_left_alone() -> None:
    assert named("text/html", "utf-8", 302).headers == [("Content-Type", "text/html")]
