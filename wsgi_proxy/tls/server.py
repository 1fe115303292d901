"""TLS of a listener: a context for each server block, chosen by the name in the client's hello (SNI).

Rules:
- Certificates and keys are read with the configuration, by the process that may read them. Those whose path has variables are
  read when a client names them, and again when the file has changed.
- The server blocks of an address share the protocols of the default server, because OpenSSL negotiates the protocol before it
  reads the name, as in nginx. Certificates, ciphers and the verification of clients belong to each block.
- `tls.openssl` serves an address where any server verifies clients, `ssl` every other.
- A fault is a ValueError or OSError whose text names the cause and the file.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from ..config import TLS, ServerBlock
from ..http import file_name
from . import native
from .tickets import set_ticket_keys

if TYPE_CHECKING:
    from ..config import Template

_VERSIONS = {
    "TLSv1": (ssl.TLSVersion.TLSv1, ssl.OP_NO_TLSv1),
    "TLSv1.1": (ssl.TLSVersion.TLSv1_1, ssl.OP_NO_TLSv1_1),
    "TLSv1.2": (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TLSv1_2),
    "TLSv1.3": (ssl.TLSVersion.TLSv1_3, ssl.OP_NO_TLSv1_3),
}
_KEPT = 256
"""The largest number of contexts for certificates whose path has variables."""
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def listener_context(servers: Sequence[tuple[ServerBlock, bool]]) -> Any:
    """Return the context for the connections of one address: an ssl.SSLContext or a `tls.openssl.VerifyingContext`.

    `servers` are the server blocks of the address, each with True if its `listen` is `default_server`.
    """
    default = next((server for server, is_default in servers if is_default), servers[0][0])
    blocks = [server for server, _ in servers]
    asking = any(server.tls is not None and server.tls.verify_client != "off" for server in blocks)
    return _ContextsByName(default, blocks, asking).context


class CertificateNames:
    """The server blocks by name: exact, longest leading wildcard, longest trailing wildcard, regular expression."""

    __slots__ = ("_default", "_names", "_patterns")

    def __init__(self, servers: Sequence[ServerBlock], default: ServerBlock) -> None:
        self._default = default
        self._names: dict[str, ServerBlock] = {}
        self._patterns = [(pattern, server) for server in servers for _, pattern in server.name_patterns]
        for server in servers:
            for name in server.names:
                for form in (name[1:], "*" + name) if name.startswith(".") else (name,):
                    self._names.setdefault(form.lower(), server)

    def find(self, asked: str | None) -> ServerBlock:
        if not asked:
            return self._default
        asked = asked.lower().rstrip(".")
        labels = asked.split(".")
        candidates = [asked]
        candidates += ["*." + ".".join(labels[at:]) for at in range(1, len(labels))]
        candidates += [".".join(labels[:at]) + ".*" for at in range(len(labels) - 1, 0, -1)]
        for candidate in candidates:
            if candidate in self._names:
                return self._names[candidate]
        return next((server for pattern, server in self._patterns if pattern.search(asked)), self._default)


class _ContextsByName:
    """The context of the default server, replaced during the handshake by that of the server that the client names."""

    def __init__(self, default: ServerBlock, servers: Sequence[ServerBlock], asking: bool) -> None:
        self._names = CertificateNames(servers, default)
        self._default = default
        self._asking = asking
        self._protocols = (default.tls or TLS()).protocols
        self._contexts = {id(server): self._make(server, constant_pairs(server.tls or TLS())) for server in servers}
        self._by_path: OrderedDict[tuple[int, Any], Any] = OrderedDict()
        # A second context for the default server, because the first may replace this one.
        self.context = self._make(default, constant_pairs(default.tls or TLS()))
        self.context.sni_callback = self._on_name

    def _make(self, server: ServerBlock, pairs: Sequence[tuple[str, str]]) -> Any:
        tls = server.tls or TLS()
        http2 = server.http2 or any(listen.http2 for listen in server.listens)
        alpn = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        if self._asking:
            check_readable(*(path for pair in pairs for path in pair))
            try:
                from .openssl import VerifyingContext
            except ImportError as error:
                raise ValueError('"ssl_verify_client" needs pyOpenSSL: pip install "wsgi-proxy-nginx[tls]"') from error
            return VerifyingContext(tls, alpn, pairs, Passwords(tls.password_file).lines)
        return plain_context(tls, alpn, pairs, self._protocols)

    def _on_name(self, connection: Any, name: str | None, _: Any) -> int | None:
        server = self._names.find(name)
        # For $ssl_server_name: Python's object does not keep the name.
        connection.sni = name
        tls = server.tls or TLS()
        if tls.reject_handshake:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if not tls.certificates:
            # The default server's certificate is used, as in nginx.
            server, tls = self._default, self._default.tls or TLS()
            if not _varies(tls):
                return None
        context = self._contexts[id(server)]
        if _varies(tls):
            try:
                context = self._found(server, tls, connection, name)
            except (OSError, ValueError):
                return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = context
        return None

    def _found(self, server: ServerBlock, tls: TLS, connection: Any, name: str | None) -> Any:
        """Return the context with the certificates whose paths depend on the client's name."""
        if name and not _HOST_NAME.fullmatch(name):
            raise ValueError("no certificate for a name that is none")
        x: Any = _Hello(connection, name, server)
        pairs = [(file_name(certificate(x)), file_name(key(x))) for certificate, key in tls.certificates]
        seen = tuple((path, os.stat(path).st_mtime_ns) for pair in pairs for path in pair)
        context = self._by_path.get((id(server), seen))
        if context is None:
            context = self._by_path[id(server), seen] = self._make(server, pairs)
            if len(self._by_path) > _KEPT:
                self._by_path.popitem(last=False)
        self._by_path.move_to_end((id(server), seen))
        return context


class _Hello:
    """The part of an Exchange that exists during a handshake, for paths with variables."""

    def __init__(self, connection: Any, name: str | None, server: ServerBlock) -> None:
        self.scheme = "https"
        self.connection = SimpleNamespace(tls=connection, sni=name)
        self.host = (name or "").lower()
        self.server = server
        self.location = None
        self.variables: dict[str, str] = {}
        self.environ: dict[str, Any] = {}
        self.remote_addr = self.peer_addr = ""


def constant(template: Template) -> str | None:
    """Return a template's text if it has no variables, else None."""
    found: str | None = getattr(template, "constant", None)
    return found


def _varies(tls: TLS) -> bool:
    """Return True if the path of a certificate or key has variables."""
    return any(constant(template) is None for pair in tls.certificates for template in pair)


def constant_pairs(tls: TLS) -> list[tuple[str, str]]:
    """Return the (certificate, key) paths without variables."""
    found = [(constant(certificate), constant(key)) for certificate, key in tls.certificates]
    return [(file_name(certificate), file_name(key)) for certificate, key in found if certificate is not None and key is not None]


class Passwords:
    """The passwords of `ssl_password_file`, one per line; an empty one without a file. A call returns the present one.

    Passwords are bytes, because the file may have any encoding. A named pipe is read once, by the arbiter, whose workers inherit
    the passwords: its writer writes them once (ngx_http_ssl_module, ssl_password_file).
    """

    _pipes: ClassVar[dict[str, list[bytes]]] = {}

    def __init__(self, path: str) -> None:
        self.lines = [b""]
        if path in self._pipes:
            self.lines = self._pipes[path]
        elif path:
            with open(path, "rb") as file:
                self.lines = [line for line in (line.rstrip(b"\r\n") for line in file) if line] or [b""]
            if _is_pipe(path):
                self._pipes[path] = self.lines
        self.turn = 0

    def __call__(self) -> bytes:
        # Without a password OpenSSL would ask on the terminal.
        return self.lines[min(self.turn, len(self.lines) - 1)]


def plain_context(tls: TLS, alpn: Sequence[str], pairs: Sequence[tuple[str, str]], protocols: Sequence[str]) -> ssl.SSLContext:
    """Return an ssl.SSLContext for a server that does not verify clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    set_protocols(context, protocols)
    _set(context.set_ciphers, tls.ciphers, "ssl_ciphers")
    if "CCM8" not in tls.ciphers:
        # Older versions of OpenSSL count CCM8 among HIGH, although its tag has only eight bytes.
        context.set_ciphers(f"{tls.ciphers}:!AESCCM8")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if tls.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if not tls.session_tickets:
        context.options |= ssl.OP_NO_TICKET
    # TLS 1.3: a resumed session brings another ticket. OpenSSL's default of two costs a fifteenth of the handshake.
    context.num_tickets = 0 if tls.session_cache in ("off", "none") and not tls.session_tickets else 1
    if tls.ecdh_curve not in ("", "auto"):
        set_curves(context, tls.ecdh_curve)
    if tls.dhparam:
        _set(context.load_dh_params, tls.dhparam, "ssl_dhparam")
    context.set_alpn_protocols(list(alpn))
    for certificate, key in pairs:
        load_pair(context, certificate, key, Passwords(tls.password_file))
    if native.available():
        native.set_timeout(context, tls.session_timeout)
    set_ticket_keys(context, tls.session_ticket_key)
    native.configure(context, tls.conf_command, server=True)
    return context


def set_curves(context: ssl.SSLContext, curves: str) -> None:
    """Set `ssl_ecdh_curve`, one curve or a list. Where OpenSSL is out of reach, a list has no effect, and `tls.check` warns."""
    if hasattr(context, "set_groups"):
        _set(context.set_groups, curves, "ssl_ecdh_curve")
    elif native.available():
        native.set_groups(context, curves)
    elif ":" not in curves:
        _set(context.set_ecdh_curve, curves, "ssl_ecdh_curve")


def set_protocols(context: ssl.SSLContext, protocols: Sequence[str]) -> None:
    """Allow exactly these protocols."""
    known = [name for name in _VERSIONS if name in protocols]
    if not known:
        return
    with warnings.catch_warnings():
        # The configuration asks for TLSv1 and TLSv1.1. OpenSSL's security level may still forbid them.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[known[0]][0]
        context.maximum_version = _VERSIONS[known[-1]][0]
        for name, (version, without) in _VERSIONS.items():
            if name not in protocols and context.minimum_version < version < context.maximum_version:
                context.options |= without


def check_readable(*paths: str) -> None:
    """Raise OSError for a file that cannot be read. OpenSSL's message names no file."""
    for path in paths:
        if path.startswith("data:"):
            raise ValueError('"data:" is not supported: a certificate and its key are files')
        if not _is_pipe(path):
            with open(path, "rb"):
                pass


def _is_pipe(path: str) -> bool:
    """Return True for a named pipe, which gives its bytes to the first reader alone."""
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)


def load_pair(context: ssl.SSLContext, certificate: str, key: str, passwords: Passwords) -> None:
    """Load a certificate chain and its key; try every password."""
    check_readable(certificate, key)
    for turn in range(len(passwords.lines)):
        passwords.turn = turn
        try:
            context.load_cert_chain(certificate, key, passwords)
            return
        except ssl.SSLError as error:
            fault = error
    reason = words(fault)
    if reason == "KEY_VALUES_MISMATCH":
        raise ValueError(f'the key "{key}" does not belong to the certificate "{certificate}"') from fault
    raise ValueError(f'cannot load certificate "{certificate}" with key "{key}": {reason}') from fault


def _set(setter: Callable[[str], object], value: str, directive: str) -> None:
    try:
        setter(value)
    except (OSError, ValueError) as error:
        raise ValueError(f'"{directive} {value}" failed: {words(error)}') from error


def words(error: Exception) -> str:
    """Return OpenSSL's reason for an error, without its numbers."""
    return getattr(error, "reason", None) or (str(error.args[-1]) if error.args else str(error))
