"""Attributes of Set-Cookie, added and removed as `proxy_cookie_flags` says."""

from __future__ import annotations

import pytest

from wsgi_proxy.http import with_flags


@pytest.mark.parametrize(
    ("cookie", "flags", "changed"),
    [
        ("a=1", "", "a=1"),
        ("a=1", "secure httponly samesite=strict", "a=1; Secure; HttpOnly; SameSite=Strict"),
        ("a=1; secure; Path=/", "secure", "a=1; secure; Path=/"),
        ("a=1; Secure; HttpOnly", "nosecure nohttponly", "a=1"),
        ("a=1; samesite=None; Path=/", "samesite=lax", "a=1; SameSite=Lax; Path=/"),
        ("a=1; samesite=LAX", "samesite=lax", "a=1; samesite=LAX"),
        ("a=1; SameSite=Lax", "nosamesite", "a=1"),
        ("a=1", "unknown", "a=1"),
    ],
)
def test_attributes_are_added_replaced_and_removed(cookie: str, flags: str, changed: str) -> None:
    assert ";".join(with_flags(cookie.split(";"), set(flags.split()))) == changed
