"""ngx_http_realip_module: the client's address as a trusted proxy passes it on."""

from __future__ import annotations

import ipaddress
import socket

from . import values
from .row import ALL, Bad, Level, Row, Statement, special, value


def _real_ip_from(level: Level, statement: Statement) -> None:
    text = statement.args[0]
    known = level.own.setdefault("guard.real_ip_from", [])
    if text == "unix:":
        known.append(text)
        return
    found = values.network(level, text)
    if found is not None:
        known.append(found)
        return
    try:
        if "/" in text:
            raise OSError
        responses = socket.getaddrinfo(text, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Bad(f'host not found in set_real_ip_from "{text}"') from None
    known += [ipaddress.ip_network(response[4][0]) for response in responses]


ROWS: tuple[Row, ...] = (
    special("set_real_ip_from", ALL, "TAKE1", _real_ip_from, "guard.real_ip_from"),
    value("real_ip_header", ALL, "TAKE1", "guard.real_ip_header", values.text),
    value("real_ip_recursive", ALL, "FLAG", "guard.real_ip_recursive", values.flag("real_ip_recursive")),
)
