"""nginx's variables of the client's TLS connection, in the forms of `variables/request`.

Rules:
- Every variable is not found without TLS, and under a server that does not hand over its connections.
- Variables that need more than Python's `ssl` offers are not found.
Source: nginx's documentation of ngx_http_ssl_module, "Embedded Variables".
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..access import tls_of, verdict

if TYPE_CHECKING:
    from ..exchange import Exchange

OPTIONAL: dict[str, str] = {
    "ssl_alpn_protocol": "tls(x, alpn)",
    "ssl_cipher": "tls(x, cipher)",
    "ssl_ciphers": "tls(x, ciphers)",
    "ssl_client_cert": "tls(x, client_cert)",
    "ssl_client_escaped_cert": "tls(x, client_escaped_cert)",
    "ssl_client_fingerprint": "tls(x, client_fingerprint)",
    "ssl_client_i_dn": "tls(x, client_issuer)",
    "ssl_client_i_dn_legacy": "tls(x, client_issuer_legacy)",
    "ssl_client_raw_cert": "tls(x, client_raw_cert)",
    "ssl_client_s_dn": "tls(x, client_subject)",
    "ssl_client_s_dn_legacy": "tls(x, client_subject_legacy)",
    "ssl_client_serial": "tls(x, client_serial)",
    "ssl_client_sigalg": "None",
    "ssl_client_v_end": "tls(x, client_end)",
    "ssl_client_v_remain": "tls(x, client_remain)",
    "ssl_client_v_start": "tls(x, client_start)",
    "ssl_client_verify": "tls(x, client_verify)",
    "ssl_curve": "tls(x, curve)",
    "ssl_curves": "None",
    "ssl_early_data": "None",
    "ssl_ech_outer_server_name": "None",
    "ssl_ech_status": "None",
    "ssl_protocol": "tls(x, version)",
    "ssl_server_name": "tls(x, sni)",
    "ssl_session_id": "tls(x, session_id)",
    "ssl_session_reused": "tls(x, session_reused)",
    "ssl_sigalg": "None",
}


def tls(exchange: Exchange, show: Callable[[Exchange, Any], str | None]) -> str | None:
    """Return the value of `show` for the client's TLS connection, None without TLS or if the server does not hand it over."""
    if exchange.scheme != "https":
        return None
    sock = tls_of(exchange)
    return None if sock is None else show(exchange, sock)


def version(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = sock.version()
    return found


def cipher(exchange: Exchange, sock: Any) -> str | None:
    found = sock.cipher()
    return found[0] if found else None


def ciphers(exchange: Exchange, sock: Any) -> str | None:
    """Return the client's ciphers that the server has, too, in the server's order. nginx shows all, in the client's order."""
    shared = getattr(sock, "shared_ciphers", None)
    found = shared() if shared is not None else None
    return ":".join(each[0] for each in found) if found else None


def alpn(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = sock.selected_alpn_protocol()
    return found


def curve(exchange: Exchange, sock: Any) -> str | None:
    """Return the group of the key exchange if the library has it (Python 3.15, pyOpenSSL)."""
    group = getattr(sock, "group", None)
    found: str | None = group() if group is not None else None
    return found


def session_id(exchange: Exchange, sock: Any) -> str | None:
    """Return the session's ID in hexadecimal."""
    session = getattr(sock, "session", None)
    return session.id.hex() or None if session is not None else None


def session_reused(exchange: Exchange, sock: Any) -> str:
    return "r" if sock.session_reused else "."


def sni(exchange: Exchange, sock: Any) -> str | None:
    """Return the name that the client asked for (SNI), as the worker recorded it. The ssl module does not keep it."""
    found: str | None = getattr(exchange.connection, "sni", None) or getattr(sock, "sni", None)
    return found


def client_verify(exchange: Exchange, sock: Any) -> str:
    """Return NONE, SUCCESS or FAILED:reason."""
    return verdict(sock)


def _der(sock: Any) -> bytes | None:
    found: bytes | None = sock.getpeercert(True)
    return found


def client_raw_cert(exchange: Exchange, sock: Any) -> str | None:
    """Return the client's certificate in PEM."""
    der = _der(sock)
    return ssl.DER_cert_to_PEM_cert(der) if der else None


def client_cert(exchange: Exchange, sock: Any) -> str | None:
    """Return the certificate for a field: a tab before each line but the first, as nginx did when fields could be folded."""
    text = client_raw_cert(exchange, sock)
    return text.rstrip("\n").replace("\n", "\n\t") if text else None


def client_escaped_cert(exchange: Exchange, sock: Any) -> str | None:
    from urllib.parse import quote

    text = client_raw_cert(exchange, sock)
    return quote(text, safe="") if text else None


def client_fingerprint(exchange: Exchange, sock: Any) -> str | None:
    """Return the SHA-1 of the certificate, in hexadecimal."""
    import hashlib

    der = _der(sock)
    return hashlib.sha1(der, usedforsecurity=False).hexdigest() if der else None


_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "emailAddress": "emailAddress",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "userId": "UID",
}
_SPECIAL = frozenset(',+"\\<>;')


def _name(parts: Any) -> str:
    """Return a distinguished name in the form of RFC 2253, last part first."""
    shown = []
    for part in reversed(parts):
        one = []
        for key, value in part:
            text = "".join("\\" + c if c in _SPECIAL else c for c in value)
            if text[:1] in ("#", " "):
                text = "\\" + text
            if text[-1:] == " " and len(text) > 1:
                text = text[:-1] + "\\ "
            one.append(f"{_SHORT.get(key, key)}={text}")
        shown.append("+".join(one))
    return ",".join(shown)


def _legacy(parts: Any) -> str:
    """Return a distinguished name in OpenSSL's old one-line form, `/C=DE/CN=a`, first part first (X509_NAME_oneline)."""
    shown = ""
    for part in parts:
        for key, value in part:
            text = "".join(c if " " <= c <= "~" else "".join(f"\\x{b:02X}" for b in c.encode()) for c in value)
            shown += f"/{_SHORT.get(key, key)}={text}"
    return shown


def _peer(sock: Any, key: str) -> Any:
    return (sock.getpeercert() or {}).get(key)


def client_subject(exchange: Exchange, sock: Any) -> str | None:
    found = _peer(sock, "subject")
    return _name(found) if found else None


def client_issuer(exchange: Exchange, sock: Any) -> str | None:
    found = _peer(sock, "issuer")
    return _name(found) if found else None


def client_subject_legacy(exchange: Exchange, sock: Any) -> str | None:
    found = _peer(sock, "subject")
    return _legacy(found) if found else None


def client_issuer_legacy(exchange: Exchange, sock: Any) -> str | None:
    found = _peer(sock, "issuer")
    return _legacy(found) if found else None


def client_serial(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = _peer(sock, "serialNumber")
    return found


def client_start(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = _peer(sock, "notBefore")
    return found


def client_end(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = _peer(sock, "notAfter")
    return found


def client_remain(exchange: Exchange, sock: Any) -> str | None:
    """Return the whole days until the certificate expires, "0" behind its end."""
    end = client_end(exchange, sock)
    return str(max(0, int((ssl.cert_time_to_seconds(end) - time.time()) // 86400))) if end else None
