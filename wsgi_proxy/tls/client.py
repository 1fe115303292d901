"""TLS to upstreams: a client context for each set of `proxy_ssl_*` settings.

Rules:
- Equal settings share one context, so that files are read once and TLS sessions are shared by all its connections.
- Verification is off unless `proxy_ssl_verify` is on, as in nginx. The verified name is that of `proxy_ssl_name`, whether or not
  it is sent to the upstream (`proxy_ssl_server_name`).
- A fault is a ValueError or OSError whose text names the cause and the file.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

from . import native
from .server import Passwords, check_readable, load_pair, set_protocols, words

if TYPE_CHECKING:
    from ..config import UpstreamTLS

_KEPT = 1000
_contexts: dict[UpstreamTLS, ssl.SSLContext] = {}


def upstream_context(settings: UpstreamTLS) -> ssl.SSLContext:
    """Return the context for these settings. A connection's `server_hostname` is both the verified name and the SNI."""
    # The context does not depend on the settings that vary with the request.
    key = replace(settings, name=None)
    context = _contexts.get(key)
    if context is None:
        context = make_context(settings)
        if len(_contexts) >= _KEPT:
            # Certificates with variables can make any number of them.
            del _contexts[next(iter(_contexts))]
        _contexts[key] = context
    return context


def forget() -> None:
    """Read the files again from now on. Called when a configuration is read."""
    _contexts.clear()


def make_context(settings: UpstreamTLS) -> ssl.SSLContext:
    """Return a new context for these settings."""
    if settings.context is not None:
        given: ssl.SSLContext = settings.context
        return given
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = bool(settings.verify)
    context.verify_mode = ssl.CERT_REQUIRED if settings.verify else ssl.CERT_NONE
    context.options |= ssl.OP_NO_COMPRESSION | getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    set_protocols(context, settings.protocols)
    if settings.ciphers and settings.ciphers != "DEFAULT":
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError as error:
            raise ValueError(f'"proxy_ssl_ciphers {settings.ciphers}" failed: {words(error)}') from error
    if settings.trusted_certificate:
        _load(context, settings.trusted_certificate)
    elif settings.verify:
        # Only in Python: in an nginx.conf, `tls.check` demands a trusted certificate.
        context.load_default_certs()
    if settings.crl:
        _load(context, settings.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    certificate, key = settings.certificate, settings.certificate_key
    # With variables the file is known at the request, whose settings have its path.
    if certificate and isinstance(certificate, str) and isinstance(key, str):
        load_pair(context, certificate, key or certificate, Passwords(settings.password_file))
    if not settings.session_reuse:
        context.options |= ssl.OP_NO_TICKET
    native.configure(context, settings.conf_command, server=False)
    return context


def _load(context: ssl.SSLContext, path: str) -> None:
    """Load the trusted certificates or the revocation lists of a file."""
    check_readable(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f'cannot load "{path}": {words(error)}') from error
