"""The variables of the client's browser, as nginx has them without the module's directives."""

from __future__ import annotations

import pytest

from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables.names import Names, compile_text


@pytest.mark.parametrize(
    ("agent", "wanted"),
    [
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows)", "1|1|"),
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows) Opera 7", "|1|"),
        ("Mozilla/5.0 Firefox/115.0", "|1|"),
        ("MSIE 6", "|1|"),
        ("", "|1|"),
    ],
)
def test_browsers(agent: str, wanted: str) -> None:
    x = Exchange.from_environ(environ("GET", "/", [("User-Agent", agent)], 80))
    assert compile_text("$msie|$ancient_browser|$modern_browser", Names())(x) == wanted
