"""`dav_methods` and its kin."""

from __future__ import annotations

from tests.support.directive import faults, location
from wsgi_proxy.config import DavSettings


def test_the_settings() -> None:
    found = location("dav_methods PUT mkcol; dav_access group:rw all:r; create_full_put_path on; min_delete_depth 3;").dav
    assert found == DavSettings(frozenset({"PUT", "MKCOL"}), 0o664, True, 3)


def test_each_setting_is_inherited_alone() -> None:
    found = location("dav_methods off;", "dav_methods PUT; min_delete_depth 2;").dav
    assert found == DavSettings(min_delete_depth=2)
    assert location("").dav == DavSettings()


def test_faults_are_nginxs() -> None:
    lines = {
        "dav_methods GET;": 'invalid value "GET"',
        "dav_methods PUT; dav_methods PUT;": "is duplicate",
        "dav_access other:rw;": 'invalid value "other:rw"',
        "min_delete_depth x;": "invalid number",
        "create_full_put_path yes;": 'invalid value "yes"',
    }
    for line, message in lines.items():
        (found,) = faults(f"server {{ location / {{ {line} }} }}")
        assert message in found
