"""`userid` and its kin; their faults are in nginx_faults.py."""

from __future__ import annotations

from tests.support.directive import location
from wsgi_proxy.config import MAX_EXPIRES, UserIDSettings


def test_the_settings() -> None:
    text = "userid V1; userid_name n; userid_expires max; userid_flags secure; userid_flags httponly; userid_domain none;"
    found = location(text + "userid_mark =; userid_service 5;").userid
    assert found.reset is not None
    assert (found.enable, found.name, found.expires, found.domain) == ("v1", "n", MAX_EXPIRES, "")
    assert (found.flags, found.mark, found.service) == ({"secure", "httponly"}, "=", 5)


def test_each_setting_is_inherited_alone() -> None:
    found = location("userid_flags off;", "userid on; userid_path /x; userid_flags secure;").userid
    assert (found.enable, found.path, found.flags) == ("on", "/x", frozenset())
    assert location("").userid == UserIDSettings()
