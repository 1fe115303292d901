"""The client's address behind trusted proxies: `set_real_ip_from`, `real_ip_header`, `real_ip_recursive`.

Rules:
- The header counts only if the connection comes from a trusted address.
- The header is read from its end, where the nearest proxy wrote. With `real_ip_recursive`, the last address that is not trusted
  is the client's.
Source: ngx_http_realip_module.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from typing import TYPE_CHECKING

from .addresses import CACHED_DECISIONS
from .networks import Networks, number

if TYPE_CHECKING:
    from ..config import GuardSettings
    from ..exchange import Exchange

_SEPARATORS = re.compile(r"[ ,]+")


class RealAddress:
    """The `set_real_ip_from`, `real_ip_header` and `real_ip_recursive` of a location."""

    __slots__ = ("_is_trusted", "_trusted", "header", "recursive")

    def __init__(self, settings: GuardSettings) -> None:
        self._trusted = Networks(settings.real_ip_from)
        self._is_trusted = lru_cache(maxsize=CACHED_DECISIONS)(self._find)
        self.header = settings.real_ip_header
        self.recursive = settings.real_ip_recursive

    def _find(self, address: str) -> bool:
        return number(address) in self._trusted

    def apply(self, exchange: Exchange) -> None:
        """Set `trusted_peer` for a connection from a trusted address, and the client address and port that it names."""
        if not self._is_trusted(exchange.peer_addr):
            return
        exchange.trusted_peer = True
        if exchange.remote_addr != exchange.peer_addr:
            return
        if self.header == "proxy_protocol":
            if exchange.proxy_protocol is not None:
                exchange.remote_addr, exchange.remote_port = exchange.proxy_protocol[:2]
            return
        for word in reversed(_SEPARATORS.split(exchange.header(self.header).strip(" ,"))):
            found = address_and_port(word)
            if found is None:
                return
            exchange.remote_addr, exchange.remote_port = found
            if not self.recursive or not self._is_trusted(exchange.remote_addr):
                return


def address_and_port(word: str) -> tuple[str, str] | None:
    """Return an address in nginx's form and its port ("" without one); None for any other text.

    >>> address_and_port("[2001:DB8::1]:80"), address_and_port("192.0.2.1"), address_and_port("unknown")
    (('2001:db8::1', '80'), ('192.0.2.1', ''), None)
    """
    host, port = word, ""
    if word.startswith("["):
        host, bracket, rest = word[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            return None
        port = rest[1:]
    elif word.count(":") == 1:
        host, _, port = word.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host)), port
    except (OSError, ValueError):
        return None
