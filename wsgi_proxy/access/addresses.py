"""Who the client is and whether its address may come in: set_real_ip_from, allow, deny.

Rules:
- Networks are matched on numbers, an IPv4-mapped IPv6 address as the IPv4 address it carries (ngx_http_access_module);
  "unix:" is a client on a unix socket.
- allow and deny are asked in the order written, and the first that matches decides; when none does, there is no opinion.
- A header is believed only from a connection whose own address is trusted, and read from its end, where the nearest proxy wrote.
  With `recursive` the last address that is not trusted is taken (ngx_http_realip_module).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from ..errors import Refusal
from ..logs import errorlog
from ..net import address_number, packed_address

if TYPE_CHECKING:
    from ..config import Access, GuardSettings
    from ..exchange import Exchange

UNIX = (0, 0)
"""What `number` gives for a client on a unix socket."""
_REMEMBERED = 4096
"""Addresses whose decision is kept, per place."""


def number(address: str) -> tuple[int, int] | None:
    """(bits, value) of an IP address, `UNIX` for "" and "unix:", None for anything else.

    >>> number("10.0.0.1"), number("::ffff:10.0.0.1") == number("10.0.0.1")
    ((32, 167772161), True)
    """
    packed = packed_address(address)
    if packed is None:
        return UNIX if not address or address.startswith("unix:") else None
    return address_number(packed)


class Networks:
    """A set of networks: `ipaddress` networks, "unix:" or "all"."""

    __slots__ = ("_all", "_ranges")

    def __init__(self, networks: Iterable[Any]) -> None:
        self._ranges: list[tuple[int, int, int]] = []
        self._all = False
        for network in networks:
            if network == "all":
                self._all = True
            elif network == "unix:":
                self._ranges.append((0, 0, 0))
            else:
                self._ranges.append(bounds(network))

    def __contains__(self, where: tuple[int, int] | None) -> bool:
        if where is None:
            return self._all
        bits, value = where
        return self._all or any(bits == width and low <= value <= high for width, low, high in self._ranges)


def bounds(network: IPv4Network | IPv6Network) -> tuple[int, int, int]:
    """(bits, lowest, highest) of a network."""
    return network.max_prefixlen, int(network.network_address), int(network.broadcast_address)


class AddressCheck:
    """All `allow` and `deny` of a place, as a step of the access phase."""

    __slots__ = ("_decide", "_rules", "quiet")

    def __init__(self, rules: Iterable[Access], quiet: bool = False) -> None:
        self._rules = [(rule.allow, Networks([rule.network])) for rule in rules]
        self._decide = lru_cache(maxsize=_REMEMBERED)(self._first)
        self.quiet = quiet
        """With `satisfy any` the guard says at the end of the phase what a refusal came to."""

    def _first(self, address: str) -> bool | None:
        where = number(address)
        for allow, network in self._rules:
            if where in network:
                return allow
        return None

    def __call__(self, exchange: Exchange) -> bool:
        """True when the address is allowed, False for no opinion; Refusal (403) when it is denied."""
        allowed = self._decide(exchange.remote_addr)
        if allowed is False:
            if not self.quiet:
                errorlog.line("error", "access forbidden by rule", exchange)
            raise Refusal(status=403)
        return bool(allowed)


# --- the client's real address ----------------------------------------------------------------------------------------------

_SEPARATORS = re.compile(r"[ ,]+")


class RealAddress:
    """What `set_real_ip_from`, `real_ip_header` and `real_ip_recursive` say in a place."""

    __slots__ = ("_is_trusted", "_trusted", "header", "recursive")

    def __init__(self, settings: GuardSettings) -> None:
        self._trusted = Networks(settings.real_ip_from)
        self._is_trusted = lru_cache(maxsize=_REMEMBERED)(self._find)
        self.header = settings.real_ip_header
        self.recursive = settings.real_ip_recursive

    def _find(self, address: str) -> bool:
        return number(address) in self._trusted

    def apply(self, exchange: Exchange) -> None:
        """Set `x.remote_addr` and `x.remote_port` when a trusted peer names the client; `x.trusted_peer` for any trusted peer."""
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
    """An address as nginx writes it, and its port ("" when there is none); None when it is neither.

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
