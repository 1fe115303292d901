"""Client certificates (`ssl_verify_client`), and plain HTTP on a TLS port.

Rules:
- The handshake refuses no certificate. The request gets an error response, and the log has the reason.
- The server block of the request's Host decides. A connection that was opened under one name must not send requests for a
  server that requires a certificate under another name: 421 (RFC 9110, section 7.4).
- 495, 496 and 497 are nginx's own statuses. `error_page` can name them, and clients receive 400.
Source: ngx_http_ssl_module; ngx_http_process_request, ngx_http_set_virtual_server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Refusal
from ..logs import errorlog

if TYPE_CHECKING:
    from ..exchange import Exchange

_NO_CA = frozenset({18, 19, 20, 21})
"""OpenSSL's error numbers for an unknown authority, which `optional_no_ca` accepts."""


def verdict(connection: Any) -> str:
    """Return $ssl_client_verify of a TLS connection: "SUCCESS", "NONE" or "FAILED:" with the reason."""
    failure = getattr(connection, "verify_error", "")
    if failure:
        return f"FAILED:{failure}"
    return "SUCCESS" if connection.getpeercert(True) else "NONE"


def tls_of(exchange: Exchange) -> Any:
    """Return the client's TLS connection (SSLObject or SSLSocket); None without TLS, or if the server does not expose it."""
    connection = exchange.connection
    found = exchange.environ.get("gunicorn.socket") if connection is None else connection.tls
    return found if hasattr(found, "getpeercert") else None


def check(exchange: Exchange) -> None:
    """Raise Refusal (495, 496, 497 or 421) if the connection does not allow this request. Runs before all other checks."""
    if getattr(exchange.connection, "plain_on_tls", False):
        errorlog.line("info", "client sent plain HTTP request to HTTPS port", exchange)
        raise Refusal(status=497)
    settings = exchange.server.tls
    if settings is None or settings.verify_client == "off":
        return
    tls = tls_of(exchange)
    if tls is None:
        # A plain HTTP listener requires no certificate. Behind a TLS terminator the certificate is unknown.
        if exchange.scheme == "https" and settings.verify_client == "on":
            errorlog.line("error", "this server does not hand over its clients' certificates", exchange)
            raise Refusal(status=496)
        return
    asked = getattr(tls, "sni", None)
    if asked and asked.lower() != exchange.host:
        errorlog.line("info", "client attempted to request the server name different from the one that was negotiated", exchange)
        raise Refusal(status=421)
    fault = getattr(tls, "fault", 0)
    if fault and not (settings.verify_client == "optional_no_ca" and fault in _NO_CA):
        errorlog.line("info", f"client SSL certificate verify error: ({fault}:{tls.verify_error})", exchange)
        raise Refusal(status=495)
    if settings.verify_client == "on" and not tls.getpeercert(True):
        errorlog.line("info", "client sent no required SSL certificate", exchange)
        raise Refusal(status=496)
