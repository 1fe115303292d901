"""TLS towards upstreams: a client context for each set of `proxy_ssl_*`.

Rules:
- One context for equal settings, so that all connections made with it share their sessions' keys and nothing is read twice.
- Verification is off unless `proxy_ssl_verify on`, as in nginx; then the name is checked that `proxy_ssl_name` gives, whether
  or not it is sent (`proxy_ssl_server_name`).
- A fault is a ValueError or OSError whose text says what and which file.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

from .server import Passwords, check_readable, load_pair, set_protocols, words

if TYPE_CHECKING:
    from ..config import UpstreamTLS

_contexts: dict[UpstreamTLS, ssl.SSLContext] = {}


def upstream_context(settings: UpstreamTLS) -> ssl.SSLContext:
    """The context for these settings, made once. `server_hostname` of a connection is the name to check and to send."""
    # What differs per request has no part in the context.
    key = replace(settings, name=None)
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = make_context(settings)
    return context


def forget() -> None:
    """Read the files again from now on: called when a configuration is."""
    _contexts.clear()


def make_context(settings: UpstreamTLS) -> ssl.SSLContext:
    """A new context for these settings."""
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
        # Only from Python: a configuration file must name whom it trusts (tls_check).
        context.load_default_certs()
    if settings.crl:
        _load(context, settings.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if settings.certificate:
        passwords = Passwords("")
        load_pair(context, settings.certificate, settings.certificate_key or settings.certificate, passwords)
    if not settings.session_reuse:
        context.options |= ssl.OP_NO_TICKET
    return context


def _load(context: ssl.SSLContext, path: str) -> None:
    """Certificates or revocation lists to judge by."""
    check_readable(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f'cannot load "{path}": {words(error)}') from error
