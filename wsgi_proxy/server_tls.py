"""TLS of the listeners: a context for each server block, chosen by the name the client asks for (SNI).

Rules:
- Certificates and keys are read when the configuration is, by the process that may read them, and never again.
- A fault (a missing file, a key that does not fit, an unknown cipher) is a ConfigError that names file and line.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from .config import TLS, Config, ServerBlock
from .errors import ConfigError, Fault
from .server_listen import Address, covering, listens_of

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


def contexts(config: Config) -> dict[Address, ssl.SSLContext]:
    """For each bound address with TLS, the context its connections begin with. Raises ConfigError."""
    bound = listens_of(config)
    made: dict[int, ssl.SSLContext] = {}
    faults: list[Fault] = []
    by_address: dict[Address, list[tuple[ServerBlock, bool]]] = {}
    for server in config.servers:
        for listen in server.listens:
            address = covering(listen.address, bound)
            if not listen.ssl or address is None:
                continue
            by_address.setdefault(address, []).append((server, listen.default_server))
            if id(server) not in made:
                try:
                    made[id(server)] = _context(server)
                except (OSError, ValueError) as error:
                    faults.append(Fault(str(error), server.place.file, server.place.line or None))
    if faults:
        raise ConfigError(*faults)
    return {address: _entrance(servers, made) for address, servers in by_address.items()}


def _context(server: ServerBlock) -> ssl.SSLContext:
    tls = server.tls or TLS()
    http2 = server.http2 or any(listen.http2 for listen in server.listens)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = sorted(_VERSIONS[name] for name in tls.protocols if name in _VERSIONS)
    if versions:
        context.minimum_version, context.maximum_version = versions[0], versions[-1]
    if tls.ciphers:
        _set(context.set_ciphers, tls.ciphers, "ssl_ciphers")
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF if hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF") else 0
    context.options |= ssl.OP_NO_COMPRESSION
    if tls.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if not tls.session_tickets:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if tls.ecdh_curve not in ("", "auto"):
        # Python takes one curve; the first named is the preferred one.
        _set(context.set_ecdh_curve, tls.ecdh_curve.split(":")[0], "ssl_ecdh_curve")
    if tls.dhparam:
        _set(context.load_dh_params, tls.dhparam, "ssl_dhparam")
    # HTTP/2 is gunicorn's, which needs the h2 package (the extra "http2").
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 and find_spec("h2") else ["http/1.1"])
    _load_certificates(context, tls)
    _verify_client(context, tls)
    return context


def _set(setter: Any, value: str, directive: str) -> None:
    try:
        setter(value)
    except (OSError, ValueError) as error:
        raise ValueError(f'"{directive} {value}" failed: {error}') from error


def _load_certificates(context: ssl.SSLContext, tls: TLS) -> None:
    password = None
    if tls.password_file:
        with open(tls.password_file, encoding="utf-8") as file:
            password = file.readline().rstrip("\r\n")
    for certificate, key in tls.certificates:
        names = [getattr(template, "constant", None) for template in (certificate, key)]
        if None in names:
            raise ValueError('variables are not supported in "ssl_certificate"')
        try:
            context.load_cert_chain(names[0] or "", names[1], password or _no_password)
        except OSError as error:
            raise ValueError(f'cannot load certificate "{names[0]}" with key "{names[1]}": {error}') from error


def _no_password() -> str:
    """Instead of asking at the terminal."""
    return ""


def _verify_client(context: ssl.SSLContext, tls: TLS) -> None:
    if tls.verify_client == "off":
        return
    for path in (tls.client_certificate, tls.trusted_certificate):
        if path:
            try:
                context.load_verify_locations(path)
            except OSError as error:
                raise ValueError(f'cannot load "{path}": {error}') from error
    if tls.crl:
        context.load_verify_locations(tls.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    # A client without or with a bad certificate gets through the handshake where nginx lets it: it is then answered 400.
    context.verify_mode = ssl.CERT_OPTIONAL if tls.verify_client != "on" else ssl.CERT_REQUIRED


def _entrance(servers: list[tuple[ServerBlock, bool]], made: Mapping[int, ssl.SSLContext]) -> ssl.SSLContext:
    """The default server's context, which gives way to that of the server the client names."""
    default = next((server for server, is_default in servers if is_default), servers[0][0])
    # A context of its own, because the same server may be the default of two addresses with different neighbours.
    entrance = _context(default)
    by_name: dict[str, ServerBlock] = {}
    patterns = [(pattern, server) for server, _ in servers for _, pattern in server.name_patterns]
    for server, _ in servers:
        for name in server.names:
            by_name.setdefault(name.lower(), server)

    def choose(asked: str | None) -> ServerBlock:
        """nginx's order: exact, longest wildcard before, longest wildcard behind, regular expressions."""
        if not asked:
            return default
        asked = asked.lower().rstrip(".")
        labels = asked.split(".")
        candidates = [asked]
        for n in range(len(labels)):
            candidates += [f".{'.'.join(labels[n:])}", f"*.{'.'.join(labels[n + 1 :])}"]
        candidates += [f"{'.'.join(labels[:n])}.*" for n in range(len(labels) - 1, 0, -1)]
        for candidate in candidates:
            if candidate in by_name:
                return by_name[candidate]
        return next((server for pattern, server in patterns if pattern.search(asked)), default)

    def on_name(connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        server = choose(name)
        if server.tls is not None and server.tls.reject_handshake:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = made[id(server)]
        return None

    entrance.sni_callback = on_name
    return entrance
