"""The sticky cookie: read and written."""

from __future__ import annotations

import time

import pytest

from wsgi_proxy.config import Sticky
from wsgi_proxy.upstream.sticky import cookie, set_cookie


@pytest.mark.parametrize(
    ("header", "value"),
    [("", ""), ("a=1; srv=x", "x"), ("srv=x;a=1", "x"), ("xsrv=1", ""), ("srv=", ""), ("srv=a=b", "a=b"), ("srv=1; srv=2", "1")],
)
def test_the_cookie_is_found_among_others(header: str, value: str) -> None:
    assert cookie(header, "srv") == value


def test_attributes_come_in_nginx_order() -> None:
    sticky = Sticky("srv", 3600.0, ".example.com", "/x", ("httponly", "secure", "samesite=lax"))
    assert set_cookie(sticky, "abc", 0.0, None) == (
        "srv=abc; expires=Thu, 01-Jan-70 01:00:00 GMT; max-age=3600; domain=.example.com; httponly; secure; samesite=lax; path=/x"
    )
    assert set_cookie(Sticky("srv"), "abc", 0.0, None) == "srv=abc"


def test_the_date_is_english_in_every_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "jeu., 01-janv.-70")  # as LC_TIME=fr_FR writes it
    assert "expires=Thu, 01-Jan-70 01:00:00 GMT" in set_cookie(Sticky("srv", 3600.0), "a", 0.0, None)


def test_for_ever_is_the_end_of_2037() -> None:
    forever = Sticky("srv", 10 * 365 * 86400.0)
    assert set_cookie(forever, "a", 2e9, None) == "srv=a; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"
    assert "2040" in set_cookie(Sticky("srv", 86400.0), "a", 2.21e9, None)
