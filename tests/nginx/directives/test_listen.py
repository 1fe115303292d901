"""`listen` and `server_name` in all their forms; their faults are in nginx_faults.py."""

from __future__ import annotations

import socket

import pytest

from tests.support.directive import faults, http, server
from wsgi_proxy.config import Listen


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("8080", ("0.0.0.0", 8080)),
        ("*:8080", ("0.0.0.0", 8080)),
        ("127.0.0.1", ("127.0.0.1", 80)),
        ("127.0.0.1:81", ("127.0.0.1", 81)),
        ("localhost:81", ("127.0.0.1", 81)),
        ("[::1]:81", ("::1", 81)),
        ("[::]:80", ("::", 80)),
        ("[::1]", ("::1", 80)),
        ("unix:/run/x.sock", "/run/x.sock"),
        ("unix:x.sock", "/srv/x/x.sock"),
    ],
)
def test_where(written: str, address: object) -> None:
    assert [listen.address for listen in server(f"listen {written};").listens] == [address]


def test_a_range_of_ports() -> None:
    assert [listen.port for listen in server("listen 127.0.0.1:8080-8082;").listens] == [8080, 8081, 8082]


def test_parameters() -> None:
    text = "listen [::]:443 ssl http2 default_server proxy_protocol backlog=7 reuseport ipv6only=off; ssl_reject_handshake on;"
    (listen,) = server(text).listens
    assert (listen.ssl, listen.http2, listen.default_server, listen.proxy_protocol) == (True, True, True, True)
    assert (listen.backlog, listen.reuseport, listen.ipv6only) == (7, True, False)
    (plain,) = server("listen 80;").listens
    assert (plain.ssl, plain.default_server, plain.backlog, plain.ipv6only) == (False, False, Listen.backlog, True)


def test_what_has_no_effect_is_told() -> None:
    (warning,) = http("server { listen 80 deferred; }").warnings
    assert warning.startswith('the "deferred" parameter of "listen" has no effect here in ')


def test_names() -> None:
    found = server(r"server_name a.EXAMPLE.org *.b.org c.* .d.org ~^(?<who>x\d)\.org$ '';")
    assert found.names == ("a.example.org", "*.b.org", "c.*", ".d.org", r"~^(?<who>x\d)\.org$", "")
    ((written, pattern),) = found.name_patterns
    assert written == r"~^(?<who>x\d)\.org$"
    match = pattern.search("x1.org")
    assert match is not None and match["who"] == "x1"


def test_a_capture_of_a_name_is_a_variable() -> None:
    assert server(r"server_name ~^(?<who>x)$; return 200 $who;").script
    assert faults("server { return 200 $who; }") == ['unknown "who" variable']


def test_the_hosts_own_name() -> None:
    assert server("server_name $hostname;").names == (socket.gethostname().lower(),)


@pytest.mark.parametrize("name", ["a*b", "*.a.*b", "a..b", "*", ".", "*.", "a.*.b"])
def test_what_is_no_name(name: str) -> None:
    assert faults(f"server {{ server_name {name}; }}") == [f'server name "{name}" is invalid']
