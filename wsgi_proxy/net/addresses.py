"""IP addresses as numbers, for comparisons with networks, and socket addresses as text.

Rules:
- An IPv4-mapped IPv6 address counts as the IPv4 address in it (ngx_http_access_module, ngx_http_geo_module).
"""

from __future__ import annotations

import socket

_MAPPED = bytes(10) + b"\xff\xff"


def packed_address(text: str) -> bytes | None:
    """Return the 4 or 16 bytes of an IP address, None for any other text."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL in the text
        return None


def local_address(text: str) -> tuple[str, int] | None:
    """Return (address, port) of a local address to connect from, port 0 for any; None for any other text.

    >>> local_address("127.0.0.1:4000"), local_address("[::1]"), local_address("::1"), local_address("name")
    (('127.0.0.1', 4000), ('::1', 0), ('::1', 0), None)
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:] if port else "0"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        port = "0"
    if packed_address(host) is None or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        return None
    return host, int(port)


def address_number(packed: bytes) -> tuple[int, int]:
    """Return (bits, value) of an address as `packed_address` gives it; `bits` is 32 or 128.

    >>> address_number(b"\\n\\0\\0\\1"), address_number(_MAPPED + b"\\n\\0\\0\\1") == address_number(b"\\n\\0\\0\\1")
    ((32, 167772161), True)
    """
    if len(packed) == 16 and packed.startswith(_MAPPED):
        packed = packed[12:]
    return 8 * len(packed), int.from_bytes(packed, "big")


def address_text(address: tuple[str, int] | str) -> str:
    """Return an address in nginx's notation, as in `listen` and `$upstream_addr`.

    >>> address_text(("0.0.0.0", 80)), address_text(("::", 80)), address_text("/path")
    ('0.0.0.0:80', '[::]:80', 'unix:/path')
    """
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
