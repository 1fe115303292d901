"""Settings of gRPC, QUIC and `stream`, which have no effect alone."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx


def test_settings_without_their_module_are_accepted_with_one_warning_each() -> None:
    config = nginx.loads(
        "events {}\nhttp {\ngrpc_read_timeout 5s;\ngrpc_buffer_size 4k;\n\n"
        "server { http3 on; quic_retry on; location / { grpc_set_header A b; } } }",
        path="/etc/x/nginx.conf",
    )
    assert config.warnings == (
        '"grpc_read_timeout" and the other "grpc_*" settings have no effect without "grpc_pass" in /etc/x/nginx.conf:3',
        '"http3" and the other HTTP/3 settings have no effect without "listen ... quic" in /etc/x/nginx.conf:6',
    )


@pytest.mark.parametrize("module", ["grpc"])
def test_a_location_that_needs_the_module_is_the_only_fault(module: str) -> None:
    text = f"server {{ location / {{ {module}_read_timeout 5s; {module}_pass 127.0.0.1:1; }} }}"
    assert faults(text) == [f'directive "{module}_pass" is not supported by wsgi_proxy']


def test_places_and_arguments_are_checked() -> None:
    assert faults("grpc_set_header a;") == ['invalid number of arguments in "grpc_set_header" directive']
    assert faults("upstream u { server a:1; grpc_read_timeout 1s; }") == ['"grpc_read_timeout" directive is not allowed here']
    assert faults("server { listen 443 quic; }") == ['the "quic" parameter of "listen" is not supported by wsgi_proxy']
    assert http("grpc_set_header a b;").warnings != ()


def test_a_stream_without_a_server_is_accepted() -> None:
    def load(text: str) -> None:
        nginx.loads(f"events {{}} stream {{ {text} }} http {{}}")

    load("")
    load("log_format f $remote_addr; access_log /dev/null f; map_hash_max_size 2048;")
    with pytest.raises(ConfigError, match='directive "stream" is not supported by wsgi_proxy: it forwards HTTP only'):
        load("server { listen 1; proxy_pass 127.0.0.1:2; }")
