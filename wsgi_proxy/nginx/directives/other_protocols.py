"""Settings of modules whose main directive wsgi_proxy has not: gRPC, QUIC, and `stream`.

Rules:
- A setting has no effect without its main directive (`grpc_pass`, `listen … quic`), which stops the start. So the settings are
  accepted wherever nginx allows them, with one warning for each module.
- The place and the number of arguments are checked, values are not.
"""

from __future__ import annotations

from collections.abc import Iterator

from .row import ALL, Bad, Level, Row, Statement

_CONNECTIONS = {
    "TAKE1": "buffer_size connect_timeout next_upstream_timeout next_upstream_tries read_timeout send_timeout socket_rcvbuf "
    "socket_sndbuf",
    "TAKE12": "bind",
    "FLAG": "socket_keepalive",
    "1MORE": "next_upstream",
}
_FIELDS = {"TAKE1": "hide_header pass_header", "FLAG": "intercept_errors", "1MORE": "ignore_headers"}
_TLS = {
    "TAKE1": "ssl_certificate ssl_certificate_key ssl_ciphers ssl_crl ssl_name ssl_password_file ssl_trusted_certificate "
    "ssl_verify_depth",
    "TAKE2": "ssl_conf_command",
    "TAKE123": "ssl_certificate_cache",
    "FLAG": "ssl_server_name ssl_session_reuse ssl_verify",
    "1MORE": "ssl_protocols",
}
_MODULES: dict[str, tuple[dict[str, str], ...]] = {
    "grpc": (_CONNECTIONS, _FIELDS, _TLS, {"TAKE2": "set_header"}),
}
_QUIC = {
    "TAKE1": "http3_max_concurrent_streams http3_stream_buffer_size quic_active_connection_id_limit quic_host_key",
    "FLAG": "http3 http3_hq quic_gso quic_retry",
}


def _unused(name: str, contexts: str, takes: str, family: str, needed: str) -> Row:
    """Return the row of a setting without effect. Its family of settings is warned of once."""

    def act(level: Level, statement: Statement) -> None:
        if family not in level.reading.unused:
            level.reading.unused.add(family)
            level.reading.warn(f'"{name}" and the other {family} settings have no effect without {needed}', statement.place)

    needed_in_text = f"`{needed}`".replace('"', "")
    return Row(name, contexts, takes, act, note=f"no effect without {needed_in_text}, which stops the start")


def _settings() -> Iterator[Row]:
    for module, groups in _MODULES.items():
        family, needed = f'"{module}_*"', f'"{module}_pass"'
        for group in groups:
            for takes, names in group.items():
                yield from (_unused(f"{module}_{name}", ALL, takes, family, needed) for name in names.split())
    for takes, names in _QUIC.items():
        yield from (_unused(name, "http, server", takes, "HTTP/3", '"listen ... quic"') for name in names.split())
    yield _unused("quic_bpf", "main", "FLAG", "HTTP/3", '"listen ... quic"')


def _stream(level: Level, statement: Statement) -> None:
    """Accept a `stream` block without a server, as packaged files have it: nginx does nothing for it either."""
    if any(inner.name in ("server", "upstream") for inner in statement.block or ()):
        raise Bad('directive "stream" is not supported by wsgi_proxy: it forwards HTTP only')


ROWS: tuple[Row, ...] = (
    *_settings(),
    Row("stream", "main", "BLOCK NOARGS", _stream, note="accepted without a `server`, which stops the start"),
)
