"""Access by client address: `allow` and `deny`.

Rules:
- Addresses are compared as numbers, an IPv4-mapped IPv6 address as the IPv4 address inside it (ngx_http_access_module, allow).
  "unix:" stands for a client on a unix socket.
- `allow` and `deny` are evaluated in the order of the configuration. The first match decides, and without a match there is no
  decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from ..errors import Refusal
from ..logs import errorlog
from ..net import address_number, packed_address

if TYPE_CHECKING:
    from ..config import Access
    from ..exchange import Exchange

UNIX = (0, 0)
"""The result of `number` for a client on a unix socket."""
CACHED_DECISIONS = 4096
"""The number of decisions cached per location."""


def number(address: str) -> tuple[int, int] | None:
    """Return (bits, value) of an IP address, `UNIX` for "" and "unix:", None for anything else."""
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
    """Return (bits, lowest, highest) of a network."""
    return network.max_prefixlen, int(network.network_address), int(network.broadcast_address)


class AddressCheck:
    """The `allow` and `deny` rules of a location, as one check of the access phase.

    With `quiet` a refusal is not logged here: under `satisfy any` another check may still admit the request.
    """

    __slots__ = ("_decide", "_rules", "_shown", "quiet")

    def __init__(self, rules: Iterable[Access], quiet: bool = False) -> None:
        rules = tuple(rules)
        self._shown = [f"{'allow' if rule.allow else 'deny'} {rule.network}" for rule in rules]
        self._rules = [(rule.allow, Networks([rule.network])) for rule in rules]
        self._decide = lru_cache(maxsize=CACHED_DECISIONS)(self._first)
        self.quiet = quiet

    def _first(self, address: str) -> bool | None:
        where = number(address)
        for allow, network in self._rules:
            if where in network:
                return allow
        return None

    def __call__(self, exchange: Exchange) -> bool:
        """Return True if the address is allowed, False without a matching rule. Raises Refusal (403) if it is denied."""
        allowed = self._decide(exchange.remote_addr)
        if exchange.trace is not None:
            self._explain(exchange)
        if allowed is False:
            if not self.quiet:
                errorlog.line("error", "access forbidden by rule", exchange)
            raise Refusal(status=403)
        return bool(allowed)

    def _explain(self, exchange: Exchange) -> None:
        """Note the rule that decides about the client."""
        where = number(exchange.remote_addr)
        deciding = (shown for shown, (_, network) in zip(self._shown, self._rules, strict=True) if where in network)
        exchange.why("access", f"{exchange.remote_addr}: {next(deciding, 'no rule applies, so it is allowed')}")
