"""TLS connections by pyOpenSSL beside those by ssl."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.tls import Files, shake
from wsgi_proxy.tls.server import listener_context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_what_the_variables_show(files: Files) -> None:
    certificate, key = files.pair("good", organization_name="An Organisation", common_name="good, really")
    server = files.block("localhost", verify_client="on", client_certificate=files.ca_path)
    pair = shake(listener_context([(server, True)]), files.client((certificate, key)))
    shown = pair.server.getpeercert()
    wanted = ssl._ssl._test_decode_cert(certificate)  # type: ignore[attr-defined]
    assert shown == {name: wanted[name] for name in shown}
    loaded = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    assert x509.load_der_x509_certificate(pair.server.getpeercert(True)) == loaded


def test_much_data_both_ways(files: Files) -> None:
    server = files.block("localhost", verify_client="optional", client_certificate=files.ca_path)
    pair = shake(listener_context([(server, True)]), files.client())
    data = bytes(range(256)) * 4096
    sent = 0
    while sent < len(data):
        sent += pair.server.write(memoryview(data)[sent:])
    received = b""
    while len(received) < len(data):
        received += pair.client.read(65536)
    assert received == data
    pair.client.write(data)
    received = b""
    while len(received) < len(data):
        received += pair.server.read(1000)
        assert pair.server.pending() <= 16384
    assert received == data
