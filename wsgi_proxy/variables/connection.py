"""nginx's variables of the client's connection, in the forms of `variables/request`.

Source: nginx's documentation of ngx_http_core_module, ngx_http_realip_module and ngx_http_stub_status_module, "Embedded
Variables".
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from .clock import now, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..exchange import Exchange

__all__ = ["now", "seconds"]

TEXT: dict[str, str] = {
    "binary_remote_addr": "packed(x.remote_addr)",
    "connection": "str(getattr(x.connection, 'number', 0))",
    "connection_requests": "str(getattr(x.connection, 'requests', 1))",
    "connection_time": "seconds(now() - getattr(x.connection, 'started', x.started))",
    "connections_active": "connections(x, 'active')",
    "connections_reading": "connections(x, 'reading')",
    "connections_waiting": "connections(x, 'waiting')",
    "connections_writing": "connections(x, 'writing')",
    "pipe": "('p' if getattr(x.connection, 'pipelined', False) else '.')",
    "realip_remote_addr": "(x.peer_addr or 'unix:')",
    "realip_remote_port": "str(x.environ.get('REMOTE_PORT') or '')",
    "remote_addr": "(x.remote_addr or 'unix:')",
    "remote_port": "x.remote_port",
    "server_addr": "server_address(x)[0]",
    "server_port": "server_address(x)[1]",
}

OPTIONAL: dict[str, str] = {
    "proxy_protocol_addr": "(x.proxy_protocol and x.proxy_protocol[0])",
    "proxy_protocol_port": "(x.proxy_protocol and x.proxy_protocol[1])",
    "proxy_protocol_server_addr": "(x.proxy_protocol and x.proxy_protocol[2])",
    "proxy_protocol_server_port": "(x.proxy_protocol and x.proxy_protocol[3])",
    "tcpinfo_rcv_space": "tcp_info(x, 28)",
    "tcpinfo_rtt": "tcp_info(x, 15)",
    "tcpinfo_rttvar": "tcp_info(x, 16)",
    "tcpinfo_snd_cwnd": "tcp_info(x, 18)",
}

PREFIXES: dict[str, Callable[[str], str]] = {
    "proxy_protocol_tlv_": lambda rest: "None",
}


def packed(address: str) -> str:
    """Return an address as 4 or 16 bytes, one per character; "" for a unix socket."""
    if not address:
        return ""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_pton(family, address.partition("%")[0]).decode("latin-1")
    except OSError:
        return ""


def server_address(exchange: Exchange) -> tuple[str, str]:
    """Return the (address, port) at which the request arrived; `unix:/path` and "" for a unix socket."""
    connection = exchange.connection
    if connection is not None:
        name = connection.server_addr
    else:
        sock = exchange.environ.get("gunicorn.socket")
        if sock is None:
            return exchange.environ.get("SERVER_NAME", ""), str(exchange.environ.get("SERVER_PORT", ""))
        name = sock.getsockname()
    if isinstance(name, tuple):
        return name[0], str(name[1])
    return f"unix:{name}", ""


def connections(exchange: Exchange, gauge: str) -> str:
    """Return the number of client connections of all workers that are "active", "reading", "writing" or "waiting"."""
    return "0" if exchange.metrics is None else str(exchange.metrics.connections()[gauge])


def tcp_info(exchange: Exchange, field_number: int) -> str | None:
    """Return the 32-bit field of Linux's `struct tcp_info` with this number, counted after its eight leading bytes."""
    handle = exchange.environ.get("gunicorn.socket") if exchange.connection is None else exchange.connection.stream
    if handle is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        with socket.socket(fileno=os.dup(handle.fileno())) as sock:
            data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8 + 4 * (field_number + 1))
    except OSError:  # a unix socket has no TCP_INFO
        return None
    offset = 8 + 4 * field_number
    return str(struct.unpack_from("I", data, offset)[0]) if len(data) >= offset + 4 else None
