"""Certificates for tests, and a TLS handshake in memory."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from wsgi_proxy.config import TLS, Listen, ServerBlock

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def text(value: str) -> Any:
    """A template with the attribute that constant ones have."""

    def template(x: Any) -> str:
        return value

    template.constant = value  # type: ignore[attr-defined]
    return template


class Files:
    """Certificates of one CA in a directory: each name gives `(certificate, key)` paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca_path = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_path)

    def pair(self, name: str, ca: trustme.CA | None = None, **options: Any) -> tuple[str, str]:
        issued = (ca or self.ca).issue_cert(name, **options)
        return self.write(name, issued)

    def write(self, name: str, issued: trustme.LeafCert) -> tuple[str, str]:
        certificate, key = str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key")
        Path(certificate).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def crl(self, *revoked: str, name: str = "crl.pem") -> str:
        """A CRL of the CA that revokes the certificates of these files."""
        ca_key: Any = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        ca = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(NOW - DAY).next_update(NOW + DAY)
        for path in revoked:
            serial = x509.load_pem_x509_certificate(Path(path).read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY).build()
            builder = builder.add_revoked_certificate(entry)
        made = self.folder / name
        made.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return str(made)

    def block(self, *names: str, pair: tuple[str, str] | None = None, **settings: Any) -> ServerBlock:
        """A server block with a certificate for its first name."""
        certificate, key = pair or self.pair(names[0] if names else "localhost")
        tls = TLS(certificates=((text(certificate), text(key)),), **settings)
        return ServerBlock(listens=(Listen(port=443, ssl=True),), names=names or ("localhost",), tls=tls)

    def client(self, pair: tuple[str, str] | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A client's context that trusts the CA."""
        context = ssl.create_default_context(cafile=self.ca_path)
        if pair:
            context.load_cert_chain(*pair)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


class Pair:
    """Two ends of TLS in memory."""

    def __init__(self, server: Any, client: ssl.SSLContext, name: str | None = "localhost", session: Any = None) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.to_server, self.to_client = to_server, to_client
        self.client = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
        self.server = server.wrap_bio(to_server, to_client, server_side=True)

    def handshake(self) -> Pair:
        done = set()
        for _ in range(20):
            for side in (self.client, self.server):
                if side in done:
                    continue
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    continue
            if len(done) == 2:
                return self
        raise AssertionError("the handshake came to no end")

    def exchange(self) -> None:
        """Bytes both ways; TLS 1.3's tickets come with them."""
        self.client.write(b"question")
        assert self.server.read(100) == b"question"
        assert self.server.write(memoryview(b"answer")) == 6
        assert self.client.read(100) == b"answer"


def shake(server: Any, client: ssl.SSLContext, name: str | None = "localhost") -> Pair:
    return Pair(server, client, name).handshake()


def subject(pair: Pair) -> str:
    """The first name in the certificate that the server showed."""
    found: Any = pair.client.getpeercert()
    return str(found["subjectAltName"][0][1])


def request(pair: Pair | None, server: ServerBlock, host: str, **attributes: Any) -> Any:
    """Return the request on that connection as the guard receives it."""
    connection = SimpleNamespace(tls=pair.server if pair else None)
    return SimpleNamespace(connection=connection, server=server, host=host, **attributes)
