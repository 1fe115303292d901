"""One value for each attempt, and the variables of a TLS client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Attempt
from wsgi_proxy.variables import upstream as variable_upstream
from wsgi_proxy.variables.names import Names, compile_text


def exchange(*fields: tuple[str, str]) -> Exchange:
    return Exchange.from_environ(environ("GET", "/", list(fields), 80))


def value(name: str, x: Exchange) -> str:
    return compile_text(f"${name}", Names())(x)


def attempt(address: str, status: int = 0, seconds: float | None = None, sent: int = 0) -> Attempt:
    found = Attempt(address)
    found.status, found.bytes_sent, found.bytes_received, found.response_length = status, sent, sent * 2, sent * 3
    found.response_time = found.connect_time = found.header_time = seconds
    return found


@pytest.mark.parametrize("name", [*variable_upstream.TEXT, *variable_upstream.OPTIONAL])
def test_every_name_has_a_value_on_a_bare_request(name: str) -> None:
    assert isinstance(value(name, exchange()), str)


def test_attempts_are_parted_by_commas_and_groups_by_colons() -> None:
    x = exchange()
    x.tries = [attempt("a:1", 502), attempt("b:1", 200, 0.0125, 10)]
    assert value("upstream_addr", x) == "a:1, b:1"
    assert value("upstream_status", x) == "502, 200"
    assert value("upstream_response_time", x) == "-, 0.013"
    assert value("upstream_bytes_sent", x) == "0, 10"
    assert value("upstream_bytes_received", x) == "0, 20"
    assert value("upstream_response_length", x) == "0, 30"
    x.tries += [Attempt(""), attempt("c:1", 200, 1.0)]
    assert value("upstream_addr", x) == "a:1, b:1 : c:1"
    assert value("upstream_status", x) == "502, 200 : 200"
    assert value("upstream_connect_time", x) == "-, 0.013 : 1.000"
    x.tries.pop()
    assert value("upstream_addr", x) == "a:1, b:1 : "


def test_one_attempt_without_a_status() -> None:
    x = exchange()
    x.tries = [attempt("a:1")]
    assert (value("upstream_addr", x), value("upstream_status", x), value("upstream_header_time", x)) == ("a:1", "-", "-")


def test_fields_and_cookies_of_the_upstream() -> None:
    x = exchange()
    x.upstream_pairs = [("X-Y", "1"), ("x-y", "2")]
    x.upstream_pairs += [("Set-Cookie", "sid=a; Path=/"), ("set-cookie", "SID=b"), ("Set-Cookie", "side=c")]
    x.upstream_trailers = [("Sum", "9")]
    assert value("upstream_http_x_y", x) == "1, 2"
    assert value("upstream_cookie_sid", x) == "b"
    assert value("upstream_trailer_sum", x) == "9"


def test_forwarded_for() -> None:
    assert value("proxy_add_x_forwarded_for", exchange()) == "127.0.0.1"
    assert value("proxy_add_x_forwarded_for", exchange(("X-Forwarded-For", "1.1.1.1"))) == "1.1.1.1, 127.0.0.1"


# --- TLS --------------------------------------------------------------------------------------------------------------------


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
