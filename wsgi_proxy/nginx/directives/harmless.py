"""Directives of real configurations that change no response here. Each is checked, and its note gives the behaviour instead."""

from __future__ import annotations

from . import values
from .row import ALL, BadValue, Level, Row, Statement, accepted

_SERVER = "http, server"
_IF = "http, server, location, if in location"
_REWRITE = "http, server, location, if in server, if in location"


def _hash(name: str, contexts: str) -> Row:
    return accepted(name, contexts, "TAKE1", "Python's dictionaries size themselves", values.number)


def _size(name: str, contexts: str, note: str) -> Row:
    return accepted(name, contexts, "TAKE1", note, values.size)


def _flag(name: str, contexts: str, note: str) -> Row:
    return accepted(name, contexts, "FLAG", note, values.flag(name))


def _time(name: str, contexts: str, note: str) -> Row:
    return accepted(name, contexts, "TAKE1", note, values.time)


_LINGER = "a worker reads the rest of a client's data before it closes the connection, within fixed limits"

_OBSOLETE = "obsolete in nginx too"
_HTTP2_OBSOLETE = (
    ("http2_idle_timeout", _SERVER, "keepalive_timeout"),
    ("http2_max_field_size", _SERVER, "large_client_header_buffers"),
    ("http2_max_header_size", _SERVER, "large_client_header_buffers"),
    ("http2_max_requests", _SERVER, "keepalive_requests"),
    ("http2_recv_timeout", _SERVER, "client_header_timeout"),
    ("http2_max_concurrent_pushes", _SERVER, ""),
    ("http2_push", ALL, ""),
    ("http2_push_preload", ALL, ""),
)
"""(name, contexts, the directive that nginx recommends instead)."""
_SMALLEST_RECV_BUFFER = 32


def _http2_obsolete(name: str, contexts: str, instead: str) -> Row:
    """Return the row of a directive that nginx ignores with a warning."""
    advice = f'use the "{instead}" directive instead' if instead else "ignored"

    def act(level: Level, statement: Statement) -> None:
        level.reading.warn(f'the "{name}" directive is obsolete, {advice}', statement.place)

    return Row(name, contexts, "TAKE1", act, note=_OBSOLETE)


def _recv_buffer(level: Level, args: list[str]) -> None:
    if values.size(level, args) < _SMALLEST_RECV_BUFFER:
        raise BadValue("value is too small")


ROWS: tuple[Row, ...] = (
    _hash("variables_hash_max_size", "http"),
    _hash("variables_hash_bucket_size", "http"),
    _hash("server_names_hash_max_size", "http"),
    _hash("server_names_hash_bucket_size", "http"),
    _hash("types_hash_max_size", ALL),
    _hash("types_hash_bucket_size", ALL),
    _hash("map_hash_max_size", "http"),
    _hash("map_hash_bucket_size", "http"),
    _hash("proxy_headers_hash_max_size", ALL),
    _hash("proxy_headers_hash_bucket_size", ALL),
    _hash("referer_hash_max_size", "server, location"),
    _hash("referer_hash_bucket_size", "server, location"),
    _size("connection_pool_size", _SERVER, "Python manages its memory"),
    _size("request_pool_size", _SERVER, "Python manages its memory"),
    _size("postpone_output", ALL, "a response is written as soon as it arrives"),
    _size("send_lowat", ALL, "the kernel decides when a socket is writable"),
    _size("read_ahead", ALL, "the kernel reads ahead"),
    _size("sendfile_max_chunk", ALL, "other connections of a worker are served between two blocks"),
    _size("proxy_send_lowat", ALL, "the kernel decides when a socket is writable"),
    _size("ssl_buffer_size", _SERVER, "a TLS record is as long as the block that is written"),
    accepted("http2_recv_buffer_size", "http", "TAKE1", "the worker has one buffer for each connection", _recv_buffer),
    _flag("tcp_nopush", ALL, "heads and bodies are written together"),
    _flag("tcp_nodelay", ALL, "always on"),
    _flag("reset_timedout_connection", ALL, "a connection that timed out is closed"),
    _flag("log_subrequest", ALL, "subrequests are not logged"),
    _flag("aio_write", ALL, "files are written by the worker itself"),
    _flag("client_body_in_single_buffer", ALL, "a body is read as a stream"),
    _flag("open_file_cache_errors", ALL, "files are opened for each request"),
    _flag("open_file_cache_events", ALL, "files are opened for each request"),
    _time("lingering_time", ALL, _LINGER),
    _time("lingering_timeout", ALL, _LINGER),
    _time("open_file_cache_valid", ALL, "files are opened for each request"),
    _time("auth_delay", ALL, "a wrong password is answered at once; hold guessers off by `limit_req`"),
    _time("keepalive_min_timeout", ALL, "idle connections are closed in order of their age"),
    accepted("lingering_close", ALL, "TAKE1", _LINGER, values.word("off", "on", "always")),
    accepted("open_file_cache", ALL, "TAKE12", "files are opened for each request"),
    accepted("open_file_cache_min_uses", ALL, "TAKE1", "files are opened for each request", values.number),
    accepted("aio", ALL, "TAKE1", "files are read by the worker itself"),
    accepted("directio", ALL, "TAKE1", "files go through the kernel's cache"),
    accepted("directio_alignment", ALL, "TAKE1", "files go through the kernel's cache"),
    accepted("output_buffers", ALL, "TAKE2", "files are sent in blocks of 64 KB or by sendfile", values.buffers),
    accepted("gzip_buffers", ALL, "TAKE2", "zlib sizes its buffers", values.buffers),
    accepted("brotli_buffers", ALL, "TAKE2", "the library sizes its buffers", values.buffers),
    accepted("gunzip_buffers", ALL, "TAKE2", "zlib sizes its buffers", values.buffers),
    _size("postpone_gzipping", ALL, "compression begins with the first byte"),
    _flag("gzip_no_buffer", ALL, "compressed bytes leave when no more are at hand"),
    accepted("status_zone", "server, location, if in location", "TAKE1", "the status counts by server block"),
    _flag("rewrite_log", _REWRITE, "`wsgi-proxy explain` shows what a rewrite did"),
    _flag("uninitialized_variable_warn", _REWRITE, "an unset variable is empty, without a line in the log"),
    _flag("ssl_object_cache_inheritable", "main", "certificates are read again at each reload"),
    _size("proxy_socket_rcvbuf", ALL, "the kernel sizes its buffers"),
    _size("proxy_socket_sndbuf", ALL, "the kernel sizes its buffers"),
    _flag("ssl_certificate_compression", _SERVER, "certificates are sent uncompressed, which every client accepts"),
    accepted("ssl_certificate_cache", _SERVER, "TAKE123", "certificates with variables are kept while they do not change"),
    accepted("proxy_ssl_certificate_cache", ALL, "TAKE123", "certificates are read when a connection pool is made"),
    *(_http2_obsolete(name, contexts, instead) for name, contexts, instead in _HTTP2_OBSOLETE),
    accepted("http2_pool_size", _SERVER, "TAKE1", "Python manages its memory"),
    accepted("http2_streams_index_size", _SERVER, "TAKE1", "streams are in a dictionary"),
    _flag("ssi_ignore_recycled_buffers", ALL, "buffers are not recycled"),
    _size("ssi_min_file_chunk", ALL, "a body is sent as it is made"),
)
