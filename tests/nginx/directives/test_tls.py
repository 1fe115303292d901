"""`ssl_*` and `proxy_ssl_*`. The package `tls` tests the reading of certificates."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, location, said, server

PAIR = "ssl_certificate c; ssl_certificate_key k;"


def test_a_server_with_certificates() -> None:
    text = (
        "ssl_certificate d; ssl_certificate_key /l; ssl_protocols TLSv1.3 TLSv1.2; ssl_ciphers X; ssl_prefer_server_ciphers on; "
        "ssl_session_cache shared:S:1m; ssl_session_timeout 5m; ssl_session_tickets off; ssl_verify_client optional; ssl_crl r; "
        "ssl_verify_depth 3; ssl_client_certificate ca; ssl_ecdh_curve x; ssl_dhparam dh; ssl_password_file p; ssl_stapling off; "
        "ssl_session_ticket_key t1; ssl_session_ticket_key /t2; ssl_conf_command A b; ssl_conf_command C d; "
        "ssl_conf_command Certificate c1;"
    )
    tls = server(f"listen 443 ssl; {PAIR} {text}").tls
    assert tls is not None
    assert [(said(one), said(two)) for one, two in tls.certificates] == [("/etc/x/c", "/etc/x/k"), ("/etc/x/d", "/l")]
    assert (tls.protocols, tls.ciphers, tls.prefer_server_ciphers) == (("TLSv1.2", "TLSv1.3"), "X", True)
    assert (tls.session_cache, tls.session_timeout, tls.session_tickets) == ("shared:S:1m", 300.0, False)
    assert (tls.session_ticket_key, tls.conf_command) == (
        ("/etc/x/t1", "/t2"),
        (("A", "b"), ("C", "d"), ("Certificate", "/etc/x/c1")),
    )
    assert (tls.verify_client, tls.verify_depth, tls.client_certificate, tls.crl) == ("optional", 3, "/etc/x/ca", "/etc/x/r")


def test_settings_are_inherited_from_http() -> None:
    (block,) = http(f"{PAIR} ssl_ciphers X; server {{ listen 443 ssl; }}").servers
    assert block.tls is not None and block.tls.ciphers == "X" and len(block.tls.certificates) == 1


def test_a_server_without_tls_has_none() -> None:
    assert server("listen 80; ssl_ciphers X;").tls is None
    assert server("listen 443 ssl; ssl_reject_handshake on;").tls is not None


def test_certificates_with_variables() -> None:
    tls = server("listen 443 ssl; ssl_certificate $ssl_server_name.crt; ssl_certificate_key $ssl_server_name.key;").tls
    assert tls is not None and getattr(tls.certificates[0][0], "constant", "") is None


def test_verifying_clients_needs_a_certificate() -> None:
    text = f"server {{ listen 443 ssl; {PAIR} ssl_verify_client on; }}"
    assert faults(text) == ["no ssl_client_certificate for ssl_verify_client"]


def test_old_protocols_are_told() -> None:
    config = http(f"server {{ listen 443 ssl; {PAIR} ssl_protocols SSLv3 TLSv1.2; }}")
    assert config.servers[0].tls is not None and config.servers[0].tls.protocols == ("TLSv1.2",)
    assert "SSLv3" in config.warnings[0]


@pytest.mark.parametrize("name", ["ssl_stapling", "ssl_early_data"])
def test_features_of_tls_that_are_missing_are_warned_of(name: str) -> None:
    (warning,) = http(f"server {{ listen 443 ssl; {PAIR} {name} on; }}").warnings
    assert warning.startswith(f'"{name} on" has no effect: ')
    assert http(f"server {{ listen 443 ssl; {PAIR} {name} off; }}").warnings == ()


def test_to_upstreams() -> None:
    text = (
        "proxy_ssl_verify on; proxy_ssl_trusted_certificate t; proxy_ssl_name n; proxy_ssl_server_name on; proxy_ssl_crl r; "
        "proxy_ssl_certificate c; proxy_ssl_certificate_key k; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse off; "
        "proxy_ssl_verify_depth 4; proxy_ssl_ciphers X; proxy_ssl_password_file p;"
    )
    tls = location(text).proxy.tls
    assert (tls.verify, tls.trusted_certificate, said(tls.name), tls.server_name) == (True, "/etc/x/t", "n", True)
    assert (tls.certificate, tls.certificate_key, tls.protocols) == ("/etc/x/c", "/etc/x/k", ("TLSv1.3",))
    assert tls.password_file == "/etc/x/p"
    assert (tls.session_reuse, tls.verify_depth, tls.ciphers, tls.crl) == (False, 4, "X", "/etc/x/r")
