"""The protocols that the server blocks of an address share, and the certificates that an address needs."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http

PAIR = "ssl_certificate c; ssl_certificate_key k;"
MISSING = 'no "ssl_certificate" is defined for the "listen ... ssl" directive'


def protocols(text: str) -> list[tuple[bool, bool, bool]]:
    return [(x.ssl, x.http2, x.proxy_protocol) for server in http(text).servers for x in server.listens]


def test_protocols_belong_to_the_address() -> None:
    blocks = [
        "server { listen 443 ssl; listen 80; }",
        "server { listen 443 proxy_protocol; listen 127.0.0.1:443; server_name b; }",
        "server { listen 443 http2; server_name c; }",
    ]
    shared, none = (True, True, True), (False, False, False)
    assert protocols(PAIR + "".join(blocks)) == [shared, none, shared, none, shared]
    assert protocols(PAIR + "".join(reversed(blocks))) == [shared, shared, none, shared, none]


@pytest.mark.parametrize(
    ("text", "secure"),
    [
        (f"server {{ listen 1; ssl on; {PAIR} }} server {{ listen 1; server_name b; }}", [True, True]),
        # Before a client has named a server, the default server decides.
        (f"server {{ listen 1; }} server {{ listen 1; server_name b; ssl on; {PAIR} }}", [False, False]),
        (f"server {{ listen 1; }} server {{ listen 1 default_server; server_name b; ssl on; {PAIR} }}", [True, True]),
        (f"ssl on; {PAIR} server {{ listen 1; }} server {{ listen 2; ssl off; }}", [True, False]),
        (f"server {{ listen 1 ssl; ssl off; {PAIR} }}", [True]),
    ],
)
def test_ssl_on(text: str, secure: list[bool]) -> None:
    config = http(text)
    assert [listen.ssl for server in config.servers for listen in server.listens] == secure
    assert len([line for line in config.warnings if line.startswith('the "ssl" directive is deprecated')]) == 1


def test_ssl_on_needs_a_certificate() -> None:
    assert faults("server { listen 1; ssl on; }") == ['no "ssl_certificate" is defined for the "ssl" directive']
    assert faults(f"server {{ listen 1; ssl on; ssl on; {PAIR} }}") == ['"ssl" directive is duplicate']


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f"server {{ listen 1 ssl; {PAIR} }} server {{ listen 1 ssl; server_name b; }}", 0),
        (f"server {{ listen 1; {PAIR} }} server {{ listen 1 ssl; server_name b; }}", 0),
        (f"server {{ listen 1 ssl; }} server {{ listen 1 default_server; server_name b; {PAIR} }}", 0),
        (f"server {{ listen 1 ssl; }} server {{ listen 1; server_name b; {PAIR} }}", 1),
        (f"server {{ listen 1; }} server {{ listen 1 ssl; server_name b; {PAIR} }}", 1),
        (f"server {{ listen 1-2 ssl; }} server {{ listen 2 default_server; server_name b; {PAIR} }}", 1),
        (f"server {{ listen 1 ssl; ssl_reject_handshake on; }} server {{ listen 1; server_name b; {PAIR} }}", 0),
        ("server { listen 1 ssl; ssl_reject_handshake on; } server { listen 1; server_name b; }", 1),
        ("server { listen 1 ssl; ssl_reject_handshake on; } server { listen 1; server_name b; ssl_reject_handshake on; }", 0),
    ],
)
def test_the_certificate_of_an_address(text: str, missing: int) -> None:
    assert (faults(text) if missing else list(http(text).warnings)) == [MISSING] * missing
