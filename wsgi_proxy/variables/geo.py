"""`geo`: a variable that depends on the network of an address.

Rules:
- Networks become disjoint intervals of numbers when the configuration is read. A look-up is one bisection.
- The longest prefix applies, and with `ranges` the last line. Values are plain text without variables, as in nginx.
- A fault is a ConfigError in nginx's words without a line. The reader of the block adds the line.
Source: ngx_http_geo_module.
"""

from __future__ import annotations

import heapq
import socket
from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import ConfigError, Fault
from ..net import address_number, packed_address

if TYPE_CHECKING:
    from ..config import Template
    from ..exchange import Exchange
    from .names import Names

Statements = Iterable[tuple[str, list[str]]]
"""The lines of a block as (first word, other words)."""


def _bad(message: str) -> ConfigError:
    return ConfigError(Fault(message))


_V4_BITS, _V6_BITS = 32, 128
_NO_ADDRESS = 0xFFFFFFFF
Interval = tuple[int, int, int, str]
"""(first, last, rank, value). Where intervals overlap, the highest rank applies."""


class Intervals:
    """A mapping of numbers to values by disjoint intervals."""

    __slots__ = ("_starts", "_values")

    def __init__(self, intervals: Iterable[Interval]) -> None:
        ordered = sorted(intervals)
        edges = sorted({edge for first, last, _, _ in ordered for edge in (first, last + 1)})
        self._starts: list[int] = []
        self._values: list[str | None] = []
        open_: list[tuple[int, int, str]] = []
        number = 0
        for edge in edges:
            while number < len(ordered) and ordered[number][0] == edge:
                _, last, rank, value = ordered[number]
                heapq.heappush(open_, (-rank, last, value))
                number += 1
            while open_ and open_[0][1] < edge:
                heapq.heappop(open_)
            value_here = open_[0][2] if open_ else None
            if not self._values or self._values[-1] != value_here:
                self._starts.append(edge)
                self._values.append(value_here)

    def find(self, number: int) -> str | None:
        at = bisect_right(self._starts, number) - 1
        return self._values[at] if at >= 0 else None


class Geo:
    """A `geo` block: the value for the network of the client's address."""

    __slots__ = ("_default", "_proxies", "_recursive", "_source", "_v4", "_v6", "volatile", "warnings")

    def __init__(self, source: Template | None, v4: Intervals, v6: Intervals, default: str) -> None:
        self._source = source
        self._v4 = v4
        self._v6 = v6
        self._default = default
        self._proxies: tuple[Intervals, Intervals] | None = None
        self._recursive = False
        self.volatile = False
        self.warnings: list[str] = []

    def trust(self, v4: Intervals, v6: Intervals, recursive: bool) -> None:
        """Trust X-Forwarded-For if the address is in one of these networks."""
        self._proxies = v4, v6
        self._recursive = recursive

    def __call__(self, exchange: Exchange) -> str:
        text = exchange.remote_addr if self._source is None else self._source(exchange)
        number, v6 = number_of(text)
        if self._proxies is not None:
            number, v6 = self._behind_proxies(exchange, number, v6)
        found = (self._v6 if v6 else self._v4).find(number)
        return self._default if found is None else found

    def _behind_proxies(self, exchange: Exchange, number: int, v6: bool) -> tuple[int, bool]:
        """Return the last address of X-Forwarded-For or, with `proxy_recursive`, the last that is not a proxy's."""
        assert self._proxies is not None
        forwarded = [part.strip() for part in exchange.environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        while forwarded and self._proxies[v6].find(number) is not None:
            candidate = _packed(forwarded.pop())
            if candidate is None:
                break
            number, v6 = _number(candidate)
            if not self._recursive:
                break
        return number, v6


def _packed(text: str) -> bytes | None:
    return packed_address(text.strip("[]").partition("%")[0] if ":" in text else text)


def _number(packed: bytes) -> tuple[int, bool]:
    bits, value = address_number(packed)
    return value, bits == _V6_BITS


def number_of(text: str) -> tuple[int, bool]:
    """Return (number, True for IPv6) of an address. A text that is no address counts as 255.255.255.255, as in nginx."""
    packed = _packed(text)
    return (_NO_ADDRESS, False) if packed is None else _number(packed)


def _network(text: str) -> tuple[int, int, bool]:
    """Return (first address, prefix length, True for IPv6) of `address[/bits]`. Raise ConfigError for anything else."""
    address, slash, bits = text.partition("/")
    packed = _packed(address)
    if packed is None or (slash and not (bits.isascii() and bits.isdigit())):
        raise _bad(f'invalid network "{text}"')
    width = len(packed) * 8
    length = int(bits) if slash else width
    if length > width:
        raise _bad(f'invalid network "{text}"')
    number = int.from_bytes(packed, "big") >> (width - length) << (width - length)
    return number, length, width == _V6_BITS


class _Networks:
    """The networks of a block that is being read. A later line about the same network replaces an earlier one."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int, bool], str] = {}

    def intervals(self) -> tuple[Intervals, Intervals]:
        found: tuple[list[Interval], list[Interval]] = ([], [])
        for (first, length, v6), value in self.values.items():
            size = 1 << ((_V6_BITS if v6 else _V4_BITS) - length)
            found[v6].append((first, first + size - 1, length, value))
        return Intervals(found[0]), Intervals(found[1])


class _Ranges:
    """The ranges of a block that is being read. A range inside another replaces its part; an overlap is refused, as in nginx."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._rest: list[tuple[int, str]] = []

    def add(self, first: int, last: int, value: str, text: str) -> None:
        at = bisect_right(self._starts, first) - 1
        if at >= 0 and self._rest[at][0] >= first:
            start, (end, old) = self._starts[at], self._rest[at]
            if last > end:
                raise _bad(f'range "{text}" overlaps "{_shown(start)}-{_shown(end)}"')
            pieces = [(start, first - 1, old), (first, last, value), (last + 1, end, old)]
            self._replace(at, at + 1, [piece for piece in pieces if piece[0] <= piece[1]])
        else:
            at += 1
            if at < len(self._starts) and self._starts[at] <= last:
                raise _bad(f'range "{text}" overlaps "{_shown(self._starts[at])}-{_shown(self._rest[at][0])}"')
            self._replace(at, at, [(first, last, value)])

    def delete(self, first: int, last: int) -> bool:
        """Remove exactly this range. Return False if it does not exist."""
        at = bisect_right(self._starts, first) - 1
        if at < 0 or (self._starts[at], self._rest[at][0]) != (first, last):
            return False
        self._replace(at, at + 1, [])
        return True

    def _replace(self, start: int, end: int, pieces: list[tuple[int, int, str]]) -> None:
        self._starts[start:end] = [first for first, _, _ in pieces]
        self._rest[start:end] = [(last, value) for _, last, value in pieces]

    def intervals(self) -> Intervals:
        return Intervals((first, last, 0, value) for first, (last, value) in zip(self._starts, self._rest, strict=True))


def _shown(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))


def build_geo(source: Template | None, statements: Statements, names: Names) -> Geo:
    """Return the `geo` of a block's lines, with includes resolved. `source` None means the client's address."""
    networks, proxies = _Networks(), _Networks()
    ranges = _Ranges()
    use_ranges = recursive = volatile = False
    default = ""
    warnings: list[str] = []
    for number, (key, args) in enumerate(statements):
        if not args and key in ("ranges", "proxy_recursive", "volatile"):
            if key == "ranges" and number:
                raise _bad('the "ranges" directive must be the first directive inside "geo" block')
            use_ranges, recursive = use_ranges or key == "ranges", recursive or key == "proxy_recursive"
            volatile = volatile or key == "volatile"
            continue
        if len(args) != 1:
            raise _bad("invalid number of the geo parameters")
        value = args[0]
        if key == "default":
            default = value
            if not use_ranges:
                # The default is the network of all addresses and replaces a line about 0.0.0.0/0 or ::/0.
                networks.values[0, 0, False] = networks.values[0, 0, True] = value
        elif key == "proxy":
            proxies.values[_network(value)] = "proxy"
        elif use_ranges:
            if key != "delete":
                ranges.add(*_range(key), value, key)
            elif not ranges.delete(*_range(value)):
                warnings.append(f'no address range "{value}" to delete')
        elif key != "delete":
            networks.values[_network(key)] = value
        elif networks.values.pop(_network(value), None) is None:
            warnings.append(f'no network "{value}" to delete')
    if use_ranges:
        geo = Geo(source, ranges.intervals(), Intervals(()), default)
    else:
        geo = Geo(source, *networks.intervals(), default)
    if proxies.values:
        geo.trust(*proxies.intervals(), recursive)
    geo.volatile = volatile
    geo.warnings = warnings
    return geo


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start, end = _packed(first), _packed(last)
    if not dash or start is None or end is None or len(start) != 4 or len(end) != 4 or start > end:
        raise _bad(f'invalid range "{text}"')
    return int.from_bytes(start, "big"), int.from_bytes(end, "big")
