"""TLS for listeners with `ssl_verify_client`, by pyOpenSSL.

Python's `ssl` aborts the handshake if a client's certificate does not verify. nginx completes it and then responds with 400 and
logs the reason or, with `optional_no_ca`, leaves the decision to the application that receives `$ssl_client_cert`.

Rules:
- `VerifyingContext` and its connections have those methods of ssl.SSLContext and ssl.SSLObject that streams and variables use,
  and raise the exceptions of `ssl`, so that no caller depends on the library.
- The handshake never fails because of a certificate. `verify_error` holds the reason.
- Sessions are not resumed: the certificate and the result of its verification are not part of a resumed session.
"""

from __future__ import annotations

import binascii
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509StoreFlags

from .native import set_unusual
from .openssl_connection import VerifyingConnection, note_fault, words

if TYPE_CHECKING:
    from ..config import TLS

_VERSIONS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class VerifyingContext:
    """The TLS context of a listener. `sni_callback(connection, name, context)` is that of `ssl`: it may set `connection.context`,
    and a number that it returns ends the handshake with this alert.
    """

    def __init__(self, tls: TLS, alpn: Sequence[str], pairs: Sequence[tuple[str, str]], passwords: Sequence[bytes]) -> None:
        self.sni_callback: Callable[[Any, str | None, Any], int | None] | None = None
        self.verifies = tls.verify_client != "off"
        context = self.openssl = SSL.Context(SSL.TLS_SERVER_METHOD)
        versions = sorted(_VERSIONS[name] for name in tls.protocols if name in _VERSIONS)
        if versions:
            context.set_min_proto_version(versions[0])
            context.set_max_proto_version(versions[-1])
        options = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
        if tls.prefer_server_ciphers:
            options |= SSL.OP_CIPHER_SERVER_PREFERENCE
        context.set_options(options)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        try:
            context.set_cipher_list(tls.ciphers.encode())
        except SSL.Error as error:
            raise ValueError(f'"ssl_ciphers {tls.ciphers}" failed: {words(error)}') from error
        if tls.dhparam:
            _read(context.load_tmp_dh, tls.dhparam)
        set_unusual(context, tls)
        for certificate, key in pairs:
            load_pair(context, certificate, key, passwords)
        offered = [name.encode() for name in alpn]
        context.set_alpn_select_callback(
            lambda connection, asked: next((name for name in offered if name in asked), SSL.NO_OVERLAPPING_PROTOCOLS)
        )
        context.set_tlsext_servername_callback(self._on_name)
        if self.verifies:
            self._trust(tls)

    def _trust(self, tls: TLS) -> None:
        context = self.openssl
        for path in (tls.client_certificate, tls.trusted_certificate):
            if path:
                _read(context.load_verify_locations, path)
        if tls.client_certificate:
            _read(lambda path: _offer(context, path), tls.client_certificate)
        context.set_verify_depth(tls.verify_depth)
        if tls.crl:
            store = context.get_cert_store()
            assert store is not None
            blocks = _CRL.findall(Path(tls.crl).read_bytes())
            if not blocks:
                raise ValueError(f'cannot load "{tls.crl}": no revocation list in it')
            for block in blocks:
                store.add_crl(x509.load_pem_x509_crl(block))
            store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
        context.set_verify(SSL.VERIFY_PEER, note_fault)

    def _on_name(self, openssl: SSL.Connection) -> None:
        connection: VerifyingConnection = openssl.get_app_data()
        name = openssl.get_servername()
        if self.sni_callback is not None:
            connection.refused = self.sni_callback(connection, name.decode("latin-1") if name else None, self)

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool = False, server_hostname: str | None = None
    ) -> VerifyingConnection:
        """Return a server's connection over two memory BIOs, as ssl.SSLContext.wrap_bio does."""
        return VerifyingConnection(self, incoming, outgoing)


def load_pair(context: SSL.Context, certificate: str, key: str, passwords: Sequence[bytes]) -> None:
    """Load a certificate chain and its key; try every password. Raise ValueError with the names of the files."""
    try:
        context.use_certificate_chain_file(certificate)
    except SSL.Error as error:
        raise ValueError(f'cannot load certificate "{certificate}": {words(error)}') from error
    data = Path(key).read_bytes()
    for password in (None, *passwords):
        try:
            # cryptography supports more kinds of keys than pyOpenSSL's annotations name.
            loaded: Any = load_pem_private_key(data, password)
            context.use_privatekey(loaded)
            return
        except (ValueError, TypeError) as error:
            reason = str(error)
        except SSL.Error as error:
            reason = words(error)
            if "mismatch" in reason:
                raise ValueError(f'the key "{key}" does not belong to the certificate "{certificate}"') from error
    raise ValueError(f'cannot load certificate key "{key}": {reason}')


def _offer(context: SSL.Context, path: str) -> None:
    """Name the certificates of a file to clients that are asked for a certificate."""
    data = Path(path).read_bytes()
    if b"-----BEGIN TRUSTED CERTIFICATE-----" not in data:
        context.load_client_ca(path.encode())
        return
    # A trusted certificate is followed by its uses (openssl-x509, -trustout), which OpenSSL does not skip here.
    for block in _CERTIFICATE.findall(data):
        der = binascii.a2b_base64(block)
        size, more = der[1], 0
        if size & 0x80:
            more = size & 0x7F
            size = int.from_bytes(der[2 : 2 + more], "big")
        context.add_client_ca(x509.load_der_x509_certificate(der[: 2 + more + size]))


def _read(load: Callable[[Any], object], path: str) -> None:
    """Let OpenSSL read a file. Raise OSError or ValueError with the file's name."""
    with open(path, "rb"):
        pass
    try:
        load(path)
    except SSL.Error as error:
        raise ValueError(f'cannot load "{path}": {words(error)}') from error
