"""The settings of filters: nginx's defaults."""

from __future__ import annotations

from wsgi_proxy.config import GzipSettings


def test_defaults_compress_nothing() -> None:
    settings = GzipSettings()
    assert not settings.enabled and not settings.gunzip and settings.static == "off"
    assert (settings.types, settings.min_length, settings.comp_level) == (frozenset({"text/html"}), 20, 1)
