"""What a client's TLS connection means for its request: ssl_verify_client's answers, and plain HTTP on a TLS port.

Rules:
- Nothing is refused in the handshake: the request gets an answer that says what was wrong, and the log says why.
- The server block that the request names decides, and a request may not name one that asks for a certificate behind the name
  of one that does not (RFC 9110, 7.4: 421).
- 495, 496 and 497 are nginx's own statuses: `error_page` knows them, clients see 400.
Source: ngx_http_ssl_module; ngx_http_process_request, ngx_http_set_virtual_server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Refusal
from ..logs import errorlog

if TYPE_CHECKING:
    from ..exchange import Exchange

_NO_CA = frozenset({18, 19, 20, 21})
"""What optional_no_ca overlooks: a certificate that no known authority vouches for (OpenSSL's numbers)."""


def verdict(connection: Any) -> str:
    """$ssl_client_verify for a connection's TLS object: SUCCESS, NONE, or FAILED: and the reason."""
    failure = getattr(connection, "verify_error", "")
    if failure:
        return f"FAILED:{failure}"
    return "SUCCESS" if connection.getpeercert(True) else "NONE"


def tls_of(exchange: Exchange) -> Any:
    """The client's TLS connection (an SSLObject or SSLSocket); None on a plain one, or when the server keeps it to itself."""
    carrier = exchange.carrier
    found = exchange.environ.get("gunicorn.socket") if carrier is None else carrier.tls
    return found if hasattr(found, "getpeercert") else None


def check(exchange: Exchange) -> None:
    """Refusal (495, 496, 497, 421) when the connection does not allow this request; before anything else is asked."""
    if getattr(exchange.connection, "plain_on_tls", False):
        errorlog.line("info", "client sent plain HTTP request to HTTPS port", exchange)
        raise Refusal(status=497)
    settings = exchange.server.tls
    if settings is None or settings.verify_client == "off":
        return
    tls = tls_of(exchange)
    if tls is None:
        # Plain HTTP is another listener's, and asks for nothing. TLS that somebody else took off could not be looked at.
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
