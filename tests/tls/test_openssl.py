"""pyOpenSSL behind the interface of `ssl`. `test_server.py` tests its handshakes."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from tests.support.tls import Files, Pair
from wsgi_proxy.access.client_certificate import verdict
from wsgi_proxy.tls.server import listener_context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_nothing_is_lost_by_resuming_a_session(files: Files) -> None:
    server = files.block("localhost", verify_client="optional", client_certificate=files.ca_path)
    context = listener_context([(server, True)])
    client = files.client(files.pair("stranger", trustme.CA()))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client.maximum_version = version
        session = None
        for _ in range(3):
            pair = Pair(context, client, session=session).handshake()
            pair.exchange()
            session = pair.client.session
            assert verdict(pair.server).startswith("FAILED:")


def test_a_revocation_list_that_is_none(files: Files) -> None:
    empty = files.folder / "empty.pem"
    empty.write_text("")
    server = files.block("localhost", verify_client="on", client_certificate=files.ca_path, crl=str(empty))
    with pytest.raises(ValueError, match="no revocation list"):
        listener_context([(server, True)])


def test_certificates_with_their_uses_are_named_to_clients(files: Files) -> None:
    """`openssl x509 -trustout` adds the uses behind the certificate; OpenSSL's function for the list of issuers refuses them."""
    trusted = str(files.folder / "trusted.pem")
    command = ["openssl", "x509", "-addtrust", "clientAuth", "-trustout", "-in", files.ca_path, "-out", trusted]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    server = files.block("localhost", verify_client="on", client_certificate=trusted)
    context = listener_context([(server, True)])
    pair = Pair(context, files.client(files.pair("client"))).handshake()
    pair.exchange()
    assert verdict(pair.server) == "SUCCESS"
    assert len(pair.server._openssl.get_client_ca_list()) == 1
