"""Directives of ngx_http_core_module without its blocks."""

from __future__ import annotations

import ipaddress
import re
import socket

from ...config import ErrorPage, ProxyStatus
from . import values
from .row import ALL, IFS, Bad, BadValue, Level, Row, Statement, special, value

_SERVER = "http, server"
MAX_WINDOW = 2**31 - 1
"""The largest window of HTTP/2 (RFC 9113, section 6.9.1)."""


def _keepalive_timeout(level: Level, statement: Statement) -> None:
    if "core.keepalive_timeout" in level.own:
        raise BadValue("is duplicate")
    level.own["core.keepalive_timeout"] = values.time(level, statement.args[:1])
    header = statement.args[1:]
    # A level that sets the timeout alone sends no Keep-Alive field, whatever it would inherit.
    level.own["core.keepalive_timeout_header"] = values.whole_seconds(level, header) if header else None


def _error_page(level: Level, statement: Statement) -> None:
    *codes, uri = statement.args
    response: int | None = None
    if codes[-1].startswith("="):
        text = codes.pop()
        if not codes:
            raise Bad(f'invalid value "{text}"')
        number = values.parse_number(text[1:]) if len(text) > 1 else 0
        if number is None:
            raise Bad(f'invalid value "{text}"')
        response = number
    statuses = set()
    for code in codes:
        number = values.parse_number(code)
        if number is None or number == 499:
            raise Bad(f'invalid value "{code}"')
        if not 300 <= number <= 599:
            raise Bad(f'value "{code}" must be between 300 and 599')
        statuses.add(number)
    level.own.setdefault("core.error_page", []).append(ErrorPage(frozenset(statuses), level.template(uri), response))


def _proxy_status(level: Level, args: list[str]) -> ProxyStatus | None:
    if args == ["off"]:
        return None
    if args[0] != "on":
        raise Bad(f'invalid value "{args[0]}" in "proxy_status_header" directive, it must be "on" or "off"')
    name, next_hop = ProxyStatus.name, False
    for arg in args[1:]:
        if arg == "next_hop":
            next_hop = True
        elif arg.startswith("name=") and arg[5:].isascii() and arg[5:].isprintable():
            name = arg[5:]
        else:
            raise Bad(f'invalid parameter "{arg}"')
    return ProxyStatus(name, next_hop)


def _server_tokens(level: Level, args: list[str]) -> str:
    if args[0] in ("on", "off", "build"):
        return args[0]
    raise Bad(f'invalid value "{args[0]}"')


def _rate(level: Level, args: list[str]) -> object:
    """Return a rate in bytes per second, which may have variables."""
    if "$" not in args[0] and values.parse_size(args[0]) is None:
        raise BadValue("invalid value")
    if "$" in args[0]:
        return level.template(args[0])
    return level.template(str(values.parse_size(args[0])))


def take_resolver(level: Level, statement: Statement) -> None:
    """Set `resolver` of a location or of an upstream block."""
    group = "upstream" if level.kind == "upstream" else "core"
    if f"{group}.resolver" in level.own:
        raise BadValue("is duplicate")
    servers = []
    valid: float | None = None
    families = {"ipv4": True, "ipv6": True}
    for arg in statement.args:
        name, _, text = arg.partition("=")
        if name == "valid" and arg != name:
            valid = values.parse_time(text, milliseconds=False)
            if valid is None:
                raise Bad(f"invalid parameter: {arg}")
        elif name in families and arg != name:
            if text not in ("on", "off"):
                raise Bad(f"invalid parameter: {arg}")
            families[name] = text == "on"
        elif not arg.startswith("status_zone="):
            servers.append(_name_server(arg))
    if not any(families.values()):
        raise Bad('"ipv4" and "ipv6" cannot both be "off"')
    if not servers:
        raise Bad("no name servers defined")
    level.own[f"{group}.resolver"] = tuple(servers)
    # The parameters belong to these name servers, so that none is inherited.
    level.own[f"{group}.resolver_valid"] = valid or None
    level.own[f"{group}.resolver_families"] = tuple(family for family, used in families.items() if used)


def _name_server(text: str) -> str:
    """Return `address[:port]`. A name is looked up by the system's resolver."""
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]+))?", text)
    if found is None:
        raise Bad(f'invalid host in resolver "{text}"')
    host, port = found[1].strip("[]"), found[2]
    if port and not 1 <= int(port) <= 65535:
        raise Bad(f'invalid port in resolver "{text}"')
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        try:
            address = str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])
        except (OSError, UnicodeError):
            raise Bad(f'host not found in resolver "{text}"') from None
    if ":" in address:
        address = f"[{address}]"
    return f"{address}:{port}" if port else address


def _internal(level: Level, args: list[str]) -> bool:
    return True


def _types(level: Level, statement: Statement) -> None:
    types: dict[str, str] = level.own.setdefault("core.types", {})
    for inner in statement.block or ():
        if inner.block is not None:
            raise Bad('unexpected "{"')
        if not inner.args:
            level.reading.fault(f'invalid number of arguments in "{inner.name}" directive', inner.place)
        for extension in inner.args:
            extension = extension.lower()
            known = types.get(extension)
            if known is not None and known != inner.name:
                level.reading.warn(
                    f'duplicate extension "{extension}", content type: "{inner.name}", previous content type: "{known}"',
                    inner.place,
                )
            types[extension] = inner.name


def _large_buffers(level: Level, args: list[str]) -> tuple[int, int]:
    return values.buffers(level, args)


def _time_path(level: Level, args: list[str]) -> str:
    """Return the directory of temporary files. The levels of its subdirectories are not needed."""
    for arg in args[1:]:
        if arg not in ("1", "2", "3"):
            raise BadValue(f'invalid value "{arg}"')
    return values.path(level, args)


def _mirror(level: Level, statement: Statement) -> None:
    known = level.own.get("core.mirror")
    text = statement.args[0]
    if known == () or (text == "off" and known is not None):
        raise BadValue("is duplicate")
    if text == "off":
        level.own["core.mirror"] = ()
    else:
        level.own.setdefault("core.mirror", []).append(text)


def _preread_size(level: Level, args: list[str]) -> int:
    found = values.size(level, args)
    if found > MAX_WINDOW:
        raise Bad(f"the maximum body preread buffer size is {MAX_WINDOW}")
    return found


def _body_buffer(level: Level, args: list[str]) -> int:
    size = values.size(level, args)
    if not size:
        raise Bad("client body buffer size cannot be zero")
    return size


def _chunk_size(level: Level, args: list[str]) -> int:
    found = values.size(level, args)
    if not found:
        raise Bad("the http2 chunk size cannot be zero")
    return found


ROWS: tuple[Row, ...] = (
    value("client_max_body_size", ALL, "TAKE1", "core.client_max_body_size", values.offset),
    value("client_body_buffer_size", ALL, "TAKE1", "core.client_body_buffer_size", _body_buffer),
    value("client_body_in_file_only", ALL, "TAKE1", "core.client_body_in_file_only", values.word("off", "on", "clean")),
    value("client_body_timeout", ALL, "TAKE1", "core.client_body_timeout", values.time),
    value("client_body_temp_path", ALL, "TAKE1234", "core.client_body_temp_path", _time_path),
    value("send_timeout", ALL, "TAKE1", "core.send_timeout", values.time),
    special("keepalive_timeout", ALL, "TAKE12", _keepalive_timeout, "core.keepalive_timeout"),
    value("keepalive_requests", ALL, "TAKE1", "core.keepalive_requests", values.number),
    value("keepalive_time", ALL, "TAKE1", "core.keepalive_time", values.time),
    value("limit_rate", IFS, "TAKE1", "core.limit_rate", _rate),
    value("limit_rate_after", IFS, "TAKE1", "core.limit_rate_after", _rate),
    special("error_page", IFS, "2MORE", _error_page, "core.error_page"),
    value("recursive_error_pages", ALL, "FLAG", "core.recursive_error_pages", values.flag("recursive_error_pages")),
    special("mirror", ALL, "TAKE1", _mirror, "core.mirror"),
    value("mirror_request_body", ALL, "FLAG", "core.mirror_request_body", values.flag("mirror_request_body")),
    value("default_type", ALL, "TAKE1", "core.default_type", values.text),
    special("types", ALL, "BLOCK NOARGS", _types, "core.types"),
    value("internal", "location", "NOARGS", "guard.internal", _internal),
    value("msie_refresh", ALL, "FLAG", "core.msie_refresh", values.flag("msie_refresh")),
    value("msie_padding", ALL, "FLAG", "core.msie_padding", values.flag("msie_padding")),
    value("proxy_status_header", ALL, "TAKE123", "core.proxy_status", _proxy_status),
    value("server_tokens", ALL, "TAKE1", "core.server_tokens", _server_tokens),
    value("server_name_in_redirect", ALL, "FLAG", "core.server_name_in_redirect", values.flag("server_name_in_redirect")),
    value("port_in_redirect", ALL, "FLAG", "core.port_in_redirect", values.flag("port_in_redirect")),
    value("absolute_redirect", ALL, "FLAG", "core.absolute_redirect", values.flag("absolute_redirect")),
    value("post_action", IFS, "TAKE1", "core.post_action", values.text),
    value("log_not_found", ALL, "FLAG", "core.log_not_found", values.flag("log_not_found")),
    value("etag", ALL, "FLAG", "core.etag", values.flag("etag")),
    value("if_modified_since", ALL, "TAKE1", "core.if_modified_since", values.word("off", "exact", "before")),
    value("max_ranges", ALL, "TAKE1", "guard.max_ranges", values.number),
    value("sendfile", IFS, "FLAG", "core.sendfile", values.flag("sendfile")),
    value("chunked_transfer_encoding", ALL, "FLAG", "core.chunked_transfer_encoding", values.flag("chunked_transfer_encoding")),
    special("resolver", "http, server, location", "1MORE", take_resolver, "core.resolver"),
    value("resolver_timeout", ALL, "TAKE1", "core.resolver_timeout", values.time),
    value("client_header_timeout", _SERVER, "TAKE1", "server.client_header_timeout", values.time),
    value("client_header_buffer_size", _SERVER, "TAKE1", "server.client_header_buffer_size", values.size),
    value("large_client_header_buffers", _SERVER, "TAKE2", "server.large_client_header_buffers", _large_buffers),
    value("max_headers", _SERVER, "TAKE1", "server.max_headers", values.number),
    value("ignore_invalid_headers", _SERVER, "FLAG", "server.ignore_invalid_headers", values.flag("ignore_invalid_headers")),
    value("underscores_in_headers", _SERVER, "FLAG", "server.underscores_in_headers", values.flag("underscores_in_headers")),
    value("merge_slashes", _SERVER, "FLAG", "server.merge_slashes", values.flag("merge_slashes")),
    value("http2", _SERVER, "FLAG", "server.http2", values.flag("http2")),
    value("http2_max_concurrent_streams", _SERVER, "TAKE1", "server.http2_max_concurrent_streams", values.number),
    value("http2_body_preread_size", _SERVER, "TAKE1", "server.http2_body_preread_size", _preread_size),
    value("http2_chunk_size", ALL, "TAKE1", "core.http2_chunk_size", _chunk_size),
    value("early_hints", ALL, "1MORE", "core.early_hints", values.templates),
)
