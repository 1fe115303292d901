"""The variables of a client's TLS connection. `tests/differential/test_tls_variables.py` compares them with nginx."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables import tls as variable_tls
from wsgi_proxy.variables.names import Names, compile_text


def exchange() -> Exchange:
    return Exchange.from_environ(environ("GET", "/", [], 80))


def value(name: str, x: Exchange) -> str:
    return compile_text(f"${name}", Names())(x)


@pytest.mark.parametrize("name", variable_tls.OPTIONAL)
def test_every_name_is_empty_without_tls(name: str) -> None:
    assert value(name, exchange()) == ""


class Connection:
    """The ssl module's view of a client with or without a certificate."""

    def __init__(self, pem: bytes | None) -> None:
        self.der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) if pem else None
        self.session_reused = False

    def getpeercert(self, binary: bool = False) -> Any:
        if binary or self.der is None:
            return self.der
        subject = ((("countryName", "DE"),), (("organizationName", "A, B"),), (("commonName", "client"),))
        return {"subject": subject, "issuer": subject[:1], "serialNumber": "0A", "notBefore": "start", "notAfter": "end"}

    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int]:
        return "TLS_AES_256_GCM_SHA384", "TLSv1.3", 256

    def shared_ciphers(self) -> list[tuple[str, str, int]]:
        return [self.cipher(), ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)]


def over_tls(connection: Connection, **more: Any) -> Exchange:
    x = exchange()
    x.scheme = "https"
    x.connection = SimpleNamespace(tls=connection, **more)
    return x


def test_a_client_with_a_certificate() -> None:
    pem = trustme.CA().issue_cert("client.test").cert_chain_pems[0].bytes()
    x = over_tls(Connection(pem), sni="h.test")
    wanted = {
        "ssl_client_s_dn": "CN=client,O=A\\, B,C=DE",
        "ssl_client_i_dn": "C=DE",
        "ssl_client_serial": "0A",
        "ssl_client_v_start": "start",
        "ssl_client_v_end": "end",
        "ssl_client_verify": "SUCCESS",
        "ssl_protocol": "TLSv1.3",
        "ssl_cipher": "TLS_AES_256_GCM_SHA384",
        "ssl_ciphers": "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
        "ssl_session_reused": ".",
        "ssl_server_name": "h.test",
    }
    assert {name: value(name, x) for name in wanted} == wanted
    assert value("ssl_client_raw_cert", x).strip() == pem.decode().strip()
    assert "%0A" in value("ssl_client_escaped_cert", x) and "\n" not in value("ssl_client_escaped_cert", x)
    assert "\n\t" in value("ssl_client_cert", x)
    assert len(value("ssl_client_fingerprint", x)) == 40


def test_clients_without_one() -> None:
    assert value("ssl_client_verify", over_tls(Connection(None))) == "NONE"
    assert value("ssl_client_s_dn", over_tls(Connection(None))) == ""
    assert value("ssl_protocol", exchange()) == ""


@pytest.mark.parametrize(("seconds", "days"), [(10 * 86400 + 60, "10"), (86400 - 60, "0"), (-86400, "0")])
def test_the_days_until_a_certificate_expires(seconds: int, days: str) -> None:
    end = time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + seconds))
    connection = SimpleNamespace(getpeercert=lambda binary=False: {"notAfter": end})
    assert value("ssl_client_v_remain", over_tls(connection)) == days


def test_legacy_names_escape_what_is_not_ascii() -> None:
    subject = ((("commonName", "\xe4/b"),), (("emailAddress", "a@b"),))
    connection = SimpleNamespace(getpeercert=lambda binary=False: {"subject": subject, "issuer": ()})
    assert value("ssl_client_s_dn_legacy", over_tls(connection)) == "/CN=\\xC3\\xA4/b/emailAddress=a@b"
    assert value("ssl_client_i_dn_legacy", over_tls(connection)) == ""
