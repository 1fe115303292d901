"""IP addresses as numbers, for comparisons with networks.

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


def address_number(packed: bytes) -> tuple[int, int]:
    """Return (bits, value) of an address as `packed_address` gives it; `bits` is 32 or 128.

    >>> address_number(b"\\n\\0\\0\\1"), address_number(_MAPPED + b"\\n\\0\\0\\1") == address_number(b"\\n\\0\\0\\1")
    ((32, 167772161), True)
    """
    if len(packed) == 16 and packed.startswith(_MAPPED):
        packed = packed[12:]
    return 8 * len(packed), int.from_bytes(packed, "big")
