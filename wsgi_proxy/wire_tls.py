"""TLS to upstreams: `proxy_ssl_*` as an SSLContext, the handshake, and sessions used again.

Rules:
- One context per set of settings and process.
- As in nginx, nothing is verified unless `proxy_ssl_verify on`; then the name must match too.
- Python's ssl verifies a name only when it knows it, and then asks for it by SNI too: with `proxy_ssl_verify` SNI is sent even
  without `proxy_ssl_server_name`.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .config import UpstreamTLS
from .stream import Stream, TLSStream

if TYPE_CHECKING:
    from .wire_route import Route

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_MAX_SESSIONS = 1000
_sessions: dict[tuple[Any, str], ssl.SSLSession] = {}


@lru_cache(256)
def context_of(tls: UpstreamTLS) -> ssl.SSLContext:
    """The context for these settings. OSError (ssl.SSLError) when a file cannot be read or a cipher is unknown."""
    if tls.context is not None:
        given: ssl.SSLContext = tls.context
        return given
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.verify
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    if tls.protocols:
        _limit_versions(context, [_VERSIONS[name] for name in tls.protocols if name in _VERSIONS])
    context.set_ciphers(tls.ciphers)
    if tls.trusted_certificate:
        context.load_verify_locations(tls.trusted_certificate)
    elif tls.verify:
        context.load_default_certs()
    if tls.crl:
        context.load_verify_locations(tls.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.certificate_key or None)
    return context


def _limit_versions(context: ssl.SSLContext, versions: list[ssl.TLSVersion]) -> None:
    if versions:
        context.minimum_version = min(versions)
        context.maximum_version = max(versions)


def secure(stream: Stream, route: Route) -> Stream:
    """The TLS stream over a fresh connection. Raises TimeoutError, or OSError (ssl.SSLError) when the handshake fails."""
    tls = route.tls
    assert tls is not None
    context = context_of(tls)
    stream.read_timeout = stream.write_timeout = route.connect_timeout
    asks = context.check_hostname or tls.server_name or tls.context is not None
    layer = TLSStream(stream, context, route.server_name if asks else None)
    key = (route.address, route.server_name)
    session = _sessions.get(key)
    if session is not None and tls.session_reuse:
        try:
            layer.tls.session = session
        except ValueError:
            # It belongs to another context: settings have changed since.
            del _sessions[key]
    layer.handshake()
    if context.verify_mode == ssl.CERT_REQUIRED and tls.context is None:
        _check_depth(layer.tls, tls.verify_depth)
    return layer


def remember_session(stream: Stream, route: Route) -> None:
    """Keep the session for the next connection; TLS 1.3 has it only after the first answer."""
    if isinstance(stream, TLSStream) and route.tls is not None and route.tls.session_reuse:
        session = stream.tls.session
        if session is not None:
            _sessions[route.address, route.server_name] = session
            if len(_sessions) > _MAX_SESSIONS:
                del _sessions[next(iter(_sessions))]


def _check_depth(tls: Any, limit: int) -> None:
    """`proxy_ssl_verify_depth`: intermediate certificates between the server's and the trusted one."""
    chain = (getattr(tls, "get_verified_chain", None) or tls._sslobj.get_verified_chain)()
    if chain is not None and len(chain) - 2 > limit:
        raise ssl.SSLCertVerificationError(f"certificate chain too long: {len(chain) - 2} intermediate certificates")
