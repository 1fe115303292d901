"""`proxy_ssl_*` in memory: the certificates that a connection to an upstream accepts and shows."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.tls import Files, shake, text
from wsgi_proxy.config import UpstreamTLS
from wsgi_proxy.tls.client import forget, make_context, upstream_context
from wsgi_proxy.tls.server import listener_context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def connect(files: Files, settings: UpstreamTLS, name: str | None = "up.test", **server: Any) -> Any:
    """Handshake with an upstream whose certificate is for up.test."""
    context = listener_context([(files.block("up.test", **server), True)])
    return shake(context, upstream_context(settings), name)


def test_nothing_is_verified_by_default(files: Files) -> None:
    assert connect(files, UpstreamTLS()).server.sni == "up.test"
    assert connect(files, UpstreamTLS(), None).server.sni is None
    assert connect(files, UpstreamTLS(), "other.test").client.version() == "TLSv1.3"


def test_verification(files: Files) -> None:
    good = UpstreamTLS(verify=True, trusted_certificate=files.ca_path)
    connect(files, good).exchange()
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(files, good, "other.test")
    other = files.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(files, UpstreamTLS(verify=True, trusted_certificate=str(other)))


def test_revoked(files: Files) -> None:
    pair = files.pair("up.test")
    context = listener_context([(files.block("up.test", pair=pair), True)])
    settings = UpstreamTLS(verify=True, trusted_certificate=files.ca_path, crl=files.crl())
    shake(context, upstream_context(settings), "up.test")
    settings = replace(settings, crl=files.crl(pair[0], name="revoking.pem"))
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        shake(context, upstream_context(settings), "up.test")


def test_our_certificate(files: Files) -> None:
    certificate, key = files.pair("proxy")
    settings = UpstreamTLS(certificate=certificate, certificate_key=key)
    options = {"verify_client": "on", "client_certificate": files.ca_path}
    assert connect(files, settings, **options).server.getpeercert(True)
    assert connect(files, UpstreamTLS(), **options).server.getpeercert(True) is None


def test_protocols_and_ciphers(files: Files) -> None:
    assert connect(files, UpstreamTLS(protocols=("TLSv1.2",))).client.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        connect(files, UpstreamTLS(protocols=("TLSv1.3",)), protocols=("TLSv1.2",))
    settings = UpstreamTLS(protocols=("TLSv1.2",), ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    assert connect(files, settings).client.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_one_context_for_equal_settings(files: Files) -> None:
    first = upstream_context(UpstreamTLS(name=text("a")))
    assert upstream_context(UpstreamTLS(name=text("b"))) is first
    assert upstream_context(UpstreamTLS(protocols=("TLSv1.3",))) is not first
    forget()
    assert upstream_context(UpstreamTLS()) is not first
    given = ssl.create_default_context()
    assert upstream_context(UpstreamTLS(context=given)) is given


def test_the_systems_authorities_when_nobody_else_is_named(files: Files) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(files, UpstreamTLS(verify=True))


def test_faults() -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        make_context(UpstreamTLS(trusted_certificate="missing"))


def test_commands_of_openssl() -> None:
    context = make_context(UpstreamTLS(conf_command=(("Ciphersuites", "TLS_AES_256_GCM_SHA384"), ("MinProtocol", "TLSv1.3"))))
    assert {cipher["name"] for cipher in context.get_ciphers() if cipher["name"].startswith("TLS_")} == {"TLS_AES_256_GCM_SHA384"}
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    with pytest.raises(ValueError, match='SSL_CONF_cmd."Foo", "x". failed'):
        make_context(UpstreamTLS(conf_command=(("Foo", "x"),)))
