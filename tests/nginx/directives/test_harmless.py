"""Directives without effect: accepted and checked, but refused if their effect would be missed."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, location
from wsgi_proxy.nginx import reader as nginx


def test_a_usual_preamble_is_accepted() -> None:
    outside = (
        "sendfile on; tcp_nopush on; tcp_nodelay on; types_hash_max_size 2048; server_names_hash_bucket_size 64; gzip off; "
        "open_file_cache max=1000 inactive=20s; proxy_headers_hash_max_size 1024; reset_timedout_connection on; charset off;"
    )
    assert location("", outside).core.sendfile


def test_arguments_are_checked_all_the_same() -> None:
    assert faults("tcp_nodelay maybe;") == ['invalid value "maybe" in "tcp_nodelay" directive, it must be "on" or "off"']
    assert faults("types_hash_max_size x;") == ['"types_hash_max_size" directive invalid number']
    assert faults("lingering_close x;") == ['invalid value "x"']


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("http2_idle_timeout 1m", 'use the "keepalive_timeout" directive instead'),
        ("http2_max_requests 9", 'use the "keepalive_requests" directive instead'),
        ("http2_max_field_size 1k", 'use the "large_client_header_buffers" directive instead'),
        ("http2_recv_timeout 1m", 'use the "client_header_timeout" directive instead'),
        ("http2_push_preload on", "ignored"),
    ],
)
def test_obsolete_directives_are_warned_of_as_in_nginx(text: str, advice: str) -> None:
    config = nginx.loads(f"events {{}}\nhttp {{\nserver {{\n{text};\n}} }}", path="/n.conf")
    name = text.split()[0]
    assert config.warnings == (f'the "{name}" directive is obsolete, {advice} in /n.conf:4',)
