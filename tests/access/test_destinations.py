"""The destinations that a forward proxy allows."""

from __future__ import annotations

import logging
import socket
from types import SimpleNamespace

import pytest

from tests.support.limits import exchange, text
from wsgi_proxy.access.destinations import check, check_scheme, client_names, is_configured, is_elsewhere
from wsgi_proxy.config import GuardSettings, Location, ProxyPass, ProxySettings
from wsgi_proxy.errors import ClientError, Refusal
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.response import Attempt
from wsgi_proxy.routing.router import Router


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://$http_host$request_uri", True),
        ("http://$host$request_uri", True),
        ("$host:$request_port", True),
        ("${host}:443", True),
        ("http://$arg_where/", True),
        ("http://$1/", True),
        ("http://$http_x_backend", True),
        ("http://www.$host", True),
        ("http://$backend$request_uri", False),
        ("http://$backend:3000$uri$is_args$args", False),
        ("http://backend/$http_host", False),
        ("http://10.0.0.1:3000$request_uri", False),
        ("https://$proxied_name/x?h=$host", False),
        ("$hostname:80", False),
        # A port does not choose the host.
        ("http://127.0.0.1:$1", False),
        ("http://127.0.0.1:30$1/x", False),
        ("http://$backend:${arg_port}", False),
        ("http://127.0.0.1$1", True),
        ("http://[::1]:$arg_port", False),
        ("http://[$1]:80", True),
        # A named group is a capture like $1.
        ("http://$app:3000", True),
        ("http://${app}.internal", True),
        ("http://127.0.0.1:$app", False),
        ("http://unix:$app", True),
        ("http://unix:/run/$app.sock", False),
    ],
)
def test_whose_choice_it_is(url: str, expected: bool) -> None:
    assert bool(client_names(url, {"app"})) is expected


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        ("a.test", "a.test", True),
        ("b.test a.test", "a.test", True),
        (".a.test", "a.test", True),
        (".a.test", "x.a.test", True),
        ("*.a.test", "x.a.test", True),
        ("*.a.test", "b.test", False),
        ("a.test", "x.a.test", False),
        ("a.*", "a.test", False),
        ("~^(?<app>.+)$", "a.test", False),
        ('""', "a.test", False),
        ("_", "127.0.0.1", False),
    ],
)
def test_a_host_that_the_server_block_is_for(names: str, host: str, expected: bool) -> None:
    config = nginx.loads(f"events {{}} http {{ server {{ server_name {names}; return 200; }} }}")
    x = exchange(host=host)
    x.server = config.servers[0]
    assert is_configured(x, frozenset({"host"})) is expected
    assert not is_configured(x, frozenset({"host", "arg_x"}))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "169.254.169.254",
        "224.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "localhost",
        "",
        "2130706433",
    ],
)
def test_never_to_itself(address: str) -> None:
    assert not is_elsewhere(address)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.1.2.3", "2001:db8::1", "::ffff:192.0.2.1", "64:ff9b::c000:201"])
def test_elsewhere(address: str) -> None:
    assert is_elsewhere(address)


def test_not_to_an_address_of_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        own = probe.getsockname()[0]
    assert not is_elsewhere(own)


def test_refused_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    x = exchange("CONNECT", "127.0.0.1:22")
    with caplog.at_level(logging.ERROR, "wsgi_proxy"), pytest.raises(Refusal) as refusal:
        check(x, GuardSettings(), ("127.0.0.1", 22))
    assert refusal.value.status == 403
    assert (
        caplog.records[0]
        .getMessage()
        .startswith('access to 127.0.0.1:22 forbidden by rule: "tunnel_allow_upstream" does not allow it, client: ')
    )
    check(x, GuardSettings(), ("192.0.2.1", 22))
    with pytest.raises(Refusal):
        check(x, GuardSettings(), "/run/docker.sock")


@pytest.mark.parametrize(
    ("address", "peer", "own", "headers", "good"),
    [
        (("127.0.0.1", 8080), "127.0.0.1", ("127.0.0.1", 8080), {}, True),
        (("127.0.0.7", 8080), "127.0.0.1", ("127.0.0.1", 8080), {}, True),
        (("::1", 8080), "127.0.0.1", ("127.0.0.1", 8080), {}, True),
        (("fe80::1", 8080), "127.0.0.1", ("127.0.0.1", 8080), {}, True),
        (("fe80::1%lo", 8080), "127.0.0.1", ("127.0.0.1", 8080), {}, False),
        (("127.0.0.1", 8081), "127.0.0.1", ("127.0.0.1", 8080), {}, False),
        (("169.254.169.254", 8080), "127.0.0.1", ("127.0.0.1", 8080), {}, False),
        (("127.0.0.1", 8080), "192.0.2.1", ("192.0.2.9", 8080), {}, False),
        (("127.0.0.1", 8080), "127.0.0.1", ("192.0.2.9", 8080), {}, False),
        (("127.0.0.1", 8080), "127.0.0.1", "/run/a.sock", {}, False),
        (("127.0.0.1", 8080), "127.0.0.1", ("127.0.0.1", 8080), {"Via": "1.1 a"}, False),
        (("127.0.0.1", 8080), "127.0.0.1", ("127.0.0.1", 8080), {"X-Forwarded-For": "192.0.2.1"}, False),
    ],
)
def test_a_local_client_may_name_its_own_port(
    address: tuple[str, int], peer: str, own: object, headers: dict[str, str], good: bool
) -> None:
    x = exchange(headers=headers, peer_addr=peer, remote_addr=peer, connection=SimpleNamespace(server_addr=own))
    x.location = Location(proxy=ProxySettings(pass_=ProxyPass("http://$host:8080/there")))
    if good:
        check(x, GuardSettings(), address)
    else:
        with pytest.raises(Refusal):
            check(x, GuardSettings(), address)


@pytest.mark.parametrize(
    ("url", "target", "good"),
    [
        ("http://$host:8080/there", "/here", True),
        ("http://$host:8080/there", "/there", False),
        ("http://$host:8080", "/here", False),
        ("http://$host:8080/", "/here", False),
        ("http://$host:8080/there$request_uri", "/here", False),
        ("http://$http_host$request_uri", "/here", False),
    ],
)
def test_the_detour_over_the_own_port_is_no_loop(url: str, target: str, good: bool) -> None:
    connection = SimpleNamespace(server_addr=("127.0.0.1", 8080))
    x = exchange(target=target, peer_addr="127.0.0.1", remote_addr="127.0.0.1", connection=connection)
    x.location = Location(proxy=ProxySettings(pass_=ProxyPass(url)))
    if good:
        check(x, GuardSettings(), ("127.0.0.1", 8080))
    else:
        with pytest.raises(Refusal):
            check(x, GuardSettings(), ("127.0.0.1", 8080))


def test_the_port_of_a_client_with_a_declared_address_is_refused() -> None:
    connection = SimpleNamespace(server_addr=("127.0.0.1", 8080))
    x = exchange(peer_addr="127.0.0.1", remote_addr="192.0.2.1", connection=connection)
    x.location = Location(proxy=ProxySettings(pass_=ProxyPass("http://$host:8080/there")))
    with pytest.raises(Refusal):
        check(x, GuardSettings(), ("127.0.0.1", 8080))
    connection.proxy_protocol = ("127.0.0.1", 5, "127.0.0.1", 8080)
    x = exchange(peer_addr="127.0.0.1", remote_addr="127.0.0.1", connection=connection)
    x.location = Location(proxy=ProxySettings(pass_=ProxyPass("http://$host:8080/there")))
    with pytest.raises(Refusal):
        check(x, GuardSettings(), ("127.0.0.1", 8080))


def test_conditions_decide_alone() -> None:
    def allows(*conditions: str) -> bool:
        x = exchange()
        try:
            check(x, GuardSettings(tunnel_allow_upstream=tuple(text(word) for word in conditions)), ("127.0.0.1", 80))
        except Refusal:
            return False
        return True

    assert [allows("1"), allows("1", "yes"), allows("1", "0"), allows(""), allows("0")] == [True, True, False, False, False]


def test_conditions_see_the_address() -> None:
    seen = []
    x = exchange()
    x.tries.append(Attempt("192.0.2.1:80"))
    check(x, GuardSettings(tunnel_allow_upstream=(lambda x: seen.append(x.tries[-1].address) or "1",)), ("192.0.2.1", 80))
    assert seen == ["192.0.2.1:80"]


FORWARDING = "proxy_pass http://$http_host$request_uri;"


@pytest.mark.parametrize(
    ("target", "scheme", "text", "proto", "good"),
    [
        ("https://h/", "http", FORWARDING, "", True),
        ("https://h/", "https", "return 200;", "", True),
        ("http://h/", "http", "return 200;", "", True),
        ("http://h/", "https", "return 200;", "", True),
        ("https://h/", "http", "set_real_ip_from 127.0.0.1; return 200;", "https", True),
        ("https://h/", "http", "set_real_ip_from 127.0.0.1; return 200;", "http", False),
        ("https://h/", "http", "return 200;", "https", False),
        ("HTTPS://h/", "http", "return 301 https://$host$request_uri;", "", False),
        ("https://h/", "http", "proxy_pass http://127.0.0.1:1;", "", False),
        ("https://h/", "http", "set $backend x; proxy_pass http://$backend;", "", False),
    ],
)
def test_an_https_target_over_plain_http(target: str, scheme: str, text: str, proto: str, good: bool) -> None:
    """RFC 9110, section 7.4."""
    router = Router(nginx.loads(f"events {{}} http {{ server {{ location / {{ {text} }} }} }}"))
    environ = {"REQUEST_METHOD": "GET", "RAW_URI": target, "HTTP_HOST": "h", "wsgi.input": None, "wsgi.url_scheme": scheme}
    x = Exchange.from_environ({**environ, "REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": proto})
    router.choose_server(x)
    x.trusted_peer = "set_real_ip_from" in text
    router.route(x)
    if good:
        check_scheme(x)
    else:
        with pytest.raises(ClientError) as caught:
            check_scheme(x)
        assert caught.value.status == 421
