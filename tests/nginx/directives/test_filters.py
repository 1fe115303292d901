"""The directives of gzip: values, inheritance and faults in nginx's words."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, location
from wsgi_proxy.nginx.directives import filters


def test_values_reach_the_model() -> None:
    found = location(
        "gzip on; gzip_types text/CSS application/json; gzip_comp_level 6; gzip_min_length 1k; gzip_window 4k; gzip_hash 64k;"
        ' gzip_proxied expired no-cache; gzip_proxied auth; gzip_vary on; gzip_http_version 1.0; gzip_disable "msie6" "Foo.*Bar";'
        " gzip_buffers 16 8k; gunzip on; gunzip_buffers 4 8k; gzip_static always; postpone_gzipping 0; gzip_no_buffer on;"
    ).gzip
    assert found.enabled and found.gunzip and found.static == "always" and found.vary and found.disable_msie6
    assert found.types == {"text/html", "text/css", "application/json"}
    assert (found.comp_level, found.min_length, found.window, found.memory, found.http_version) == (6, 1024, 12, 8, "1.0")
    assert found.proxied == {"expired", "no-cache", "auth"}
    assert [pattern.search("a foo bar") is not None for pattern in found.disable] == [True]


def test_types_add_up_at_a_level_and_replace_those_around_it() -> None:
    assert location("gzip_types a/b; gzip_types c/d;", "gzip_types e/f;").gzip.types == {"text/html", "a/b", "c/d"}
    assert location("", "gzip_types e/f;").gzip.types == {"text/html", "e/f"}
    assert location("gzip_types a/b * c/d;").gzip.types is None
    assert location("gzip_types *; gzip_types c/d;").gzip.types is None
    assert http("gzip_types text/html;").warnings == ('duplicate MIME type "text/html" in /etc/x/nginx.conf:1',)


def test_brotli() -> None:
    found = location(
        "brotli on; brotli_types text/css; brotli_comp_level 11; brotli_min_length 1k; brotli_window 16m; brotli_static always;"
        " brotli_buffers 16 8k;"
    ).brotli
    assert found.enabled and found.types == {"text/html", "text/css"} and found.static == "always"
    assert (found.comp_level, found.min_length, found.window) == (11, 1024, 24)
    assert faults("brotli_window 32m;")[0].endswith("4m, 8m, or 16m")


def test_brotli_without_its_library_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "has_brotli", lambda: False)
    assert faults("brotli on;") == ['"brotli" needs the library of that name: pip install "wsgi-proxy-nginx[brotli]"']
    assert location("brotli off; brotli_static on;").brotli.static == "on"


def test_faults() -> None:
    assert faults("gzip maybe;") == ['invalid value "maybe" in "gzip" directive, it must be "on" or "off"']
    assert faults("gzip_comp_level 10;") == ["value must be between 1 and 9"]
    assert faults("gzip_http_version 2;") == ['invalid value "2"']
    assert faults("gzip_buffers 0 4k;") == ['"gzip_buffers" directive invalid value']
    assert faults("gzip_proxied some;") == ['invalid value "some"']
    assert faults("gzip_window 64k;") == ['"gzip_window" directive must be 512, 1k, 2k, 4k, 8k, 16k, or 32k']
    assert faults("gzip_hash 3k;") == ['"gzip_hash" directive must be 512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k']
    assert faults("gzip on; gzip off;") == ['"gzip" directive is duplicate']
