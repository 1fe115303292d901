"""Certificates out of their time."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.nginx.directives.expiry import outdated, validity

DAY = 86400.0


@pytest.fixture(scope="module")
def certificate() -> trustme.LeafCert:
    ends = datetime.datetime(2040, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
    return trustme.CA().issue_cert("a.example.org", not_after=ends)


def test_the_two_dates(certificate: trustme.LeafCert) -> None:
    pem = certificate.cert_chain_pems[0].bytes().decode()
    begin, end = validity(ssl.PEM_cert_to_DER_cert(pem))
    assert end == datetime.datetime(2040, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc).timestamp()
    assert begin < end


def test_a_date_beyond_2049() -> None:
    ends = datetime.datetime(2055, 1, 1, tzinfo=datetime.timezone.utc)
    pem = trustme.CA().issue_cert("a", not_after=ends).cert_chain_pems[0].bytes().decode()
    assert validity(ssl.PEM_cert_to_DER_cert(pem))[1] == ends.timestamp()


def test_a_warning_for_each_certificate_out_of_time(certificate: trustme.LeafCert, tmp_path: Path) -> None:
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    servers = "".join(
        f"server {{ listen 443 ssl; server_name n{n}; ssl_certificate {name}; ssl_certificate_key {name}; }}\n"
        for n, name in enumerate(["both.pem", "both.pem", "broken.pem", "nothing.pem"])
    )
    config = nginx.loads(f"events {{}} http {{\n{servers} }}", path=str(tmp_path / "nginx.conf"))
    begin, end = validity(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode()))
    assert list(outdated(config, end - DAY)) == []
    assert list(outdated(config, end + DAY)) == [
        f'certificate "{tmp_path}/both.pem" has expired on 2040-05-06 in {tmp_path}/nginx.conf:2'
    ]
    (early,) = outdated(config, begin - DAY)
    assert "is not valid before" in early
