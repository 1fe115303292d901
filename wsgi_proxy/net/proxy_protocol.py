"""The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt), which names the client of a load balancer.

Rules:
- Exactly the bytes of the header are read, because a TLS handshake may follow.
- A connection that does not begin with a header is refused.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

from ..errors import ClientError
from .sockets import receive_exactly

if TYPE_CHECKING:
    from .stream import Stream

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_MAX_V1 = 107
_MAX_V2 = 4096

Endpoints = tuple[str, int, str, int]
"""Source address and port, destination address and port."""


def read_proxy_header(stream: Stream) -> Endpoints | None:
    """Read the header; return None if it names no client (UNKNOWN, LOCAL). Raises ClientError for anything else, and OSError."""
    try:
        start = receive_exactly(stream, len(_SIGNATURE))
        if start == _SIGNATURE:
            return _version_2(stream)
        if not start.startswith(b"PROXY "):
            raise ClientError(
                f"broken PROXY protocol header: {start!r}: let the load balancer send it, or take proxy_protocol off the listener"
            )
        line = start
        while not line.endswith(b"\n"):
            if len(line) >= _MAX_V1:
                raise ClientError("PROXY protocol line is too long")
            line += receive_exactly(stream, 1)
    except EOFError as error:
        raise ClientError("the connection ended in the PROXY protocol header") from error
    return parse_v1(line)


def parse_v1(line: bytes) -> Endpoints | None:
    """Return the addresses in a version 1 line with its CRLF; None for UNKNOWN. Raises ClientError."""
    if not line.endswith(b"\r\n"):
        raise ClientError(f"broken PROXY protocol header: {line!r}")
    words = line[:-2].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return None
    try:
        _, family, source, destination, source_port, destination_port = words
        kind = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}[family]
        return str(kind(source)), _port(source_port), str(kind(destination)), _port(destination_port)
    except (ValueError, KeyError):
        raise ClientError(f"broken PROXY protocol header: {line!r}") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError(text)
    return int(text)


def _version_2(stream: Stream) -> Endpoints | None:
    version, family, length = struct.unpack("!BBH", receive_exactly(stream, 4))
    if version >> 4 != 2 or version & 15 > 1 or length > _MAX_V2:
        raise ClientError("broken PROXY protocol header of version 2")
    return parse_v2(version & 15, family, receive_exactly(stream, length) if length else b"")


def parse_v2(command: int, family: int, addresses: bytes) -> Endpoints | None:
    """Return the addresses in a version 2 header behind the length; None if there are none. Extensions (TLV) are skipped."""
    sizes = {0x11: 4, 0x21: 16}
    if command == 0 or family not in sizes:
        # LOCAL is the balancer itself; other families have no IP address.
        return None
    size = sizes[family]
    if len(addresses) < 2 * size + 4:
        raise ClientError("PROXY protocol header is too short for its addresses")
    ports: tuple[int, int] = struct.unpack_from("!HH", addresses, 2 * size)
    source, destination = (ipaddress.ip_address(addresses[at : at + size]) for at in (0, size))
    return str(source), ports[0], str(destination), ports[1]
