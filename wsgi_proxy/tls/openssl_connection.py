"""A TLS connection by pyOpenSSL with the methods of ssl.SSLObject, and the result of verifying the client's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

if TYPE_CHECKING:
    from .openssl import VerifyingContext

_REASONS = {
    2: "unable to get issuer certificate",
    3: "unable to get certificate CRL",
    7: "certificate signature failure",
    8: "CRL signature failure",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    11: "CRL is not yet valid",
    12: "CRL has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    22: "certificate chain too long",
    23: "certificate revoked",
    24: "invalid CA certificate",
    25: "path length constraint exceeded",
    26: "unsuitable certificate purpose",
    27: "certificate not trusted",
    28: "certificate rejected",
    32: "key usage does not include certificate signing",
    66: "EE certificate key too weak",
    67: "CA certificate key too weak",
    68: "CA signature digest algorithm too weak",
}
"""OpenSSL's texts for the results of a verification (X509_verify_cert_error_string)."""
_BLOCK = 64 * 1024


def words(error: SSL.Error) -> str:
    """Return OpenSSL's reason for an error."""
    return str(error.args[0][-1][-1]) if error.args and error.args[0] else "TLS fault"


def note_fault(openssl: SSL.Connection, certificate: Any, fault: int, depth: int, good: int) -> bool:
    """Record the last fault, as SSL_get_verify_result does, and continue (OpenSSL's verify callback)."""
    if not good:
        connection: VerifyingConnection = openssl.get_app_data()
        connection.fault = fault
    return True


class VerifyingConnection:
    """One connection, with the methods of ssl.SSLObject."""

    def __init__(self, context: VerifyingContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._context = context
        self._in = incoming
        self._out = outgoing
        self._openssl = SSL.Connection(context.openssl, None)
        self._openssl.set_app_data(self)
        self._openssl.set_accept_state()
        self.refused: int | None = None
        self.fault = 0
        """OpenSSL's number for the fault of the client's certificate; 0 for none."""
        self.session_reused = False
        self.sni: str | None = None

    @property
    def verify_error(self) -> str:
        """Return OpenSSL's text for the fault of the client's certificate, "" for none."""
        return _REASONS.get(self.fault, f"error number {self.fault}") if self.fault else ""

    @property
    def context(self) -> VerifyingContext:
        return self._context

    @context.setter
    def context(self, context: VerifyingContext) -> None:
        self._context = context
        self._openssl.set_context(context.openssl)
        # OpenSSL takes over the new context's certificate, but not its demands on the client.
        if context.verifies:
            self._openssl.set_verify(SSL.VERIFY_PEER, note_fault)
        else:
            self._openssl.set_verify(SSL.VERIFY_NONE)

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a method of OpenSSL with the received data, and pass on the data to send. Raise the exceptions of `ssl`."""
        if self._in.pending:
            self._openssl.bio_write(self._in.read())
        try:
            return function(*args)
        except SSL.WantReadError:
            if self._in.eof:
                raise ssl.SSLEOFError("the peer ended the connection") from None
            raise ssl.SSLWantReadError("want read") from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError("the peer closed TLS") from None
        except SSL.SysCallError as error:
            raise ssl.SSLEOFError(str(error)) from error
        except SSL.Error as error:
            raise ssl.SSLError(1, words(error)) from error
        finally:
            self._hand_out()

    def _hand_out(self) -> None:
        while True:
            try:
                self._out.write(self._openssl.bio_read(_BLOCK))
            except SSL.WantReadError:
                return

    def do_handshake(self) -> None:
        self._call(self._openssl.do_handshake)
        if self.refused is not None:
            raise ssl.SSLError(1, "the server name was refused")

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._call(self._openssl.recv, size)
        except ssl.SSLZeroReturnError:
            return b""
        return data

    def write(self, data: Any) -> int:
        sent: int = self._call(self._openssl.send, data)
        return sent

    def unwrap(self) -> None:
        self._call(self._openssl.shutdown)

    def pending(self) -> int:
        return self._openssl.pending()

    def version(self) -> str | None:
        return self._openssl.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int] | None:
        name = self._openssl.get_cipher_name()
        if name is None:
            return None
        return name, self._openssl.get_cipher_version() or "", self._openssl.get_cipher_bits() or 0

    def group(self) -> str | None:
        """Return the group of the key exchange, as ssl.SSLObject.group does."""
        name: str | None = self._openssl.get_group_name()
        return name

    def selected_alpn_protocol(self) -> str | None:
        return self._openssl.get_alpn_proto_negotiated().decode() or None

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return the certificate as ssl.SSLObject.getpeercert does, but also one that did not verify."""
        found = self._openssl.get_peer_certificate(as_cryptography=True)
        if found is None:
            return None
        if binary_form:
            return found.public_bytes(Encoding.DER)
        return {
            "subject": _name(found.subject),
            "issuer": _name(found.issuer),
            "version": found.version.value + 1,
            "serialNumber": _serial(found.serial_number),
            "notBefore": _time(found.not_valid_before_utc),
            "notAfter": _time(found.not_valid_after_utc),
        }


def _serial(number: int) -> str:
    text = f"{number:X}"
    return text if len(text) % 2 == 0 else "0" + text


def _time(moment: Any) -> str:
    return f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S %Y} GMT"


def _name(name: x509.Name) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(
        tuple((getattr(part.oid, "_name", part.oid.dotted_string), str(part.value)) for part in group) for group in name.rdns
    )
