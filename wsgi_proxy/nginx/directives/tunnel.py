"""ngx_http_tunnel_module: CONNECT for a forward proxy."""

from __future__ import annotations

from . import values
from .proxy import bind
from .row import ALL, BadValue, Level, Row, Statement, accepted, special, summed, value

DEFAULT_TARGET = "$host:$request_port"


def _tunnel_pass(level: Level, statement: Statement) -> None:
    if "tunnel.pass_" in level.own:
        raise BadValue("is duplicate")
    level.own["tunnel.pass_"] = level.template(statement.args[0] if statement.args else DEFAULT_TARGET)
    level.own["location.handler"] = "tunnel_pass"


def _next(level: Level, args: list[str]) -> frozenset[str]:
    found = values.words("error", "timeout", "denied", "off")(level, args)
    return frozenset() if "off" in found else found


ROWS: tuple[Row, ...] = (
    special(
        "tunnel_pass",
        "server, location, if in location",
        "TAKE01",
        _tunnel_pass,
        "tunnel.pass_",
    ),
    value(
        "tunnel_allow_upstream",
        ALL,
        "1MORE",
        "guard.tunnel_allow_upstream",
        values.templates,
    ),
    value("tunnel_connect_timeout", ALL, "TAKE1", "tunnel.connect_timeout", values.time),
    value("tunnel_send_timeout", ALL, "TAKE1", "tunnel.send_timeout", values.time),
    value("tunnel_read_timeout", ALL, "TAKE1", "tunnel.read_timeout", values.time),
    value("tunnel_buffer_size", ALL, "TAKE1", "tunnel.buffer_size", values.size),
    summed("tunnel_next_upstream", ALL, "tunnel.next_upstream", _next, values.either),
    value("tunnel_next_upstream_tries", ALL, "TAKE1", "tunnel.next_upstream_tries", values.number),
    value("tunnel_next_upstream_timeout", ALL, "TAKE1", "tunnel.next_upstream_timeout", values.time),
    value("tunnel_socket_keepalive", ALL, "FLAG", "tunnel.socket_keepalive", values.flag("tunnel_socket_keepalive")),
    value("tunnel_bind", ALL, "TAKE12", "tunnel.bind", bind),
    accepted("tunnel_send_lowat", ALL, "TAKE1", "the kernel decides when a socket is writable", values.size),
    accepted("tunnel_socket_rcvbuf", ALL, "TAKE1", "the kernel sizes its buffers", values.size),
    accepted("tunnel_socket_sndbuf", ALL, "TAKE1", "the kernel sizes its buffers", values.size),
)
