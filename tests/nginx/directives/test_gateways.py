"""Settings of FastCGI, uwsgi, SCGI, memcached, gRPC, QUIC and `stream`, which have no effect alone."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx


def test_settings_without_their_module_are_accepted_with_one_warning_each() -> None:
    config = nginx.loads(
        "events {}\nhttp {\nfastcgi_temp_path /tmp/f 1 2;\nfastcgi_buffers 8 4k;\nuwsgi_temp_path /tmp/u;\n"
        "server { http3 on; quic_retry on; location / { fastcgi_param A $fastcgi_script_name; } } }",
        path="/etc/x/nginx.conf",
    )
    assert config.warnings == (
        '"fastcgi_temp_path" and the other "fastcgi_*" settings have no effect without "fastcgi_pass" in /etc/x/nginx.conf:3',
        '"uwsgi_temp_path" and the other "uwsgi_*" settings have no effect without "uwsgi_pass" in /etc/x/nginx.conf:5',
        '"http3" and the other HTTP/3 settings have no effect without "listen ... quic" in /etc/x/nginx.conf:6',
    )


@pytest.mark.parametrize("module", ["fastcgi", "uwsgi", "scgi", "memcached", "grpc"])
def test_a_location_that_needs_the_module_is_the_only_fault(module: str) -> None:
    text = f"server {{ location / {{ {module}_read_timeout 5s; {module}_pass 127.0.0.1:1; }} }}"
    assert faults(text) == [f'directive "{module}_pass" is not supported by wsgi_proxy']


def test_places_and_arguments_are_checked() -> None:
    assert faults("fastcgi_buffers 8;") == ['invalid number of arguments in "fastcgi_buffers" directive']
    assert faults("server { location / { fastcgi_cache_path a keys_zone=a:1m; } }") == [
        '"fastcgi_cache_path" directive is not allowed here'
    ]
    assert faults("server { listen 443 quic; }") == ['the "quic" parameter of "listen" is not supported by wsgi_proxy']
    assert http("grpc_set_header a b;").warnings != ()


def test_a_stream_without_a_server_is_accepted() -> None:
    def load(text: str) -> None:
        nginx.loads(f"events {{}} stream {{ {text} }} http {{}}")

    load("")
    load("log_format f $remote_addr; access_log /dev/null f; map_hash_max_size 2048;")
    with pytest.raises(ConfigError, match='directive "stream" is not supported by wsgi_proxy: it forwards HTTP only'):
        load("server { listen 1; proxy_pass 127.0.0.1:2; }")
