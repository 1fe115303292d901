"""The identifiers of the `userid` cookie; tests/filters/test_userid.py compares them with nginx's."""

from __future__ import annotations

import struct
from base64 import b64decode

from tests.support.routing import environ
from wsgi_proxy.config import Location, UserIDSettings
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables import userid


def made(enable: str, cookie: str = "") -> tuple[userid.UserID, UserIDSettings]:
    x = Exchange.from_environ(environ("GET", "/", [("Cookie", cookie)], 80))
    settings = UserIDSettings(enable=enable)
    x.location = Location(userid=settings)
    return userid.user_id(x), settings


def test_an_identifier_is_made_once_and_read_again() -> None:
    for enable in ("on", "v1"):
        first, settings = made(enable)
        assert first.fresh and first.got is None and first.set is not None
        assert struct.unpack("=4I", b64decode(first.value(settings))) == first.set
        second, _ = made(enable, f"uid={first.value(settings)}")
        assert (second.got, second.set) == (first.set, None)


def test_the_counter_counts() -> None:
    one, two = made("v1")[0].set, made("v1")[0].set
    assert one is not None and two is not None
    assert two[3] - one[3] == 0x100 and one[2] == two[2]
