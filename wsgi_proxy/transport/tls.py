"""TLS to upstreams: the handshake and session reuse. tls/client.py makes the context.

Rules (ngx_http_proxy_module, proxy_ssl_verify and proxy_ssl_server_name):
- As in nginx, the certificate is verified only with `proxy_ssl_verify on`, and then the name must match, too.
- Python's ssl verifies only a name that it also sends by SNI. With `proxy_ssl_verify`, SNI is sent even without
  `proxy_ssl_server_name`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from ..errors import ProxyError
from ..net import Stream, TLSStream
from ..tls import upstream_context

if TYPE_CHECKING:
    from .route import Route

_MAX_SESSIONS = 1000
_sessions: dict[tuple[Any, str], ssl.SSLSession] = {}


def secure(stream: Stream, route: Route) -> Stream:
    """Return a TLS stream over a new connection.

    Raise TimeoutError, OSError (ssl.SSLError) if the handshake fails, or ProxyError for a certificate that cannot be loaded.
    """
    tls = route.tls
    assert tls is not None
    try:
        context = upstream_context(tls)
    except (ValueError, OSError) as error:
        # A file named by variables; all others were read at the start.
        raise ProxyError(str(error)) from error
    if context.check_hostname and not route.server_name:
        raise OSError('upstream SSL certificate does not match ""')
    stream.read_timeout = stream.write_timeout = route.connect_timeout
    asks = context.check_hostname or tls.server_name or tls.context is not None
    layer = TLSStream(stream, context, route.server_name or None if asks else None)
    key = (route.address, route.server_name)
    session = _sessions.get(key)
    if session is not None and tls.session_reuse:
        try:
            layer.tls.session = session
        except ValueError:
            # The session belongs to another context.
            del _sessions[key]
    layer.handshake()
    if context.verify_mode == ssl.CERT_REQUIRED and tls.context is None and tls.trusted_certificate:
        _check_depth(layer.tls, tls.verify_depth)
    return layer


def remember_session(stream: Stream, route: Route) -> None:
    """Keep the TLS session for the next connection. TLS 1.3 provides it only after the first response."""
    if isinstance(stream, TLSStream) and route.tls is not None and route.tls.session_reuse:
        session = stream.tls.session
        if session is not None:
            _sessions[route.address, route.server_name] = session
            if len(_sessions) > _MAX_SESSIONS:
                del _sessions[next(iter(_sessions))]


def _check_depth(tls: Any, limit: int) -> None:
    """Raise if more intermediate certificates than `proxy_ssl_verify_depth` precede the trusted one."""
    chain = (getattr(tls, "get_verified_chain", None) or tls._sslobj.get_verified_chain)()
    if chain is not None and len(chain) - 2 > limit:
        raise ssl.SSLCertVerificationError(f"certificate chain too long: {len(chain) - 2} intermediate certificates")
