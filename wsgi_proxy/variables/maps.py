"""Variables defined by tables: `map` and `split_clients`. `geo` has a module for itself.

Rules:
- A table becomes a callable of an Exchange. If its attribute `volatile` is false, the value is computed once per request, as in
  nginx.
- The cost does not grow with the table: keys are in a dict, and wildcards are looked up label by label.
- A fault is a ConfigError in nginx's words without a line. The reader of the block adds the line.
Source: ngx_http_map_module, ngx_http_split_clients_module.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import ConfigError, Fault
from .geo import Statements, build_geo
from .names import Names, compile_text
from .patterns import compile_regex

if TYPE_CHECKING:
    from ..config import Template
    from ..exchange import Exchange

T = TypeVar("T")
__all__ = ["HostTable", "Map", "Split", "build_geo", "build_map", "build_split_clients", "murmur2", "take_captures"]


def _bad(message: str) -> ConfigError:
    return ConfigError(Fault(message))


# --- map --------------------------------------------------------------------------------------------------------------------


class HostTable(Generic[T]):
    """Values by host name: exact, `*.x` and `.x`, `x.*`. The most exact name wins, then the longest (ngx_hash_find_combined)."""

    __slots__ = ("exact", "heads", "tails")

    def __init__(self) -> None:
        self.exact: dict[str, T] = {}
        self.heads: dict[str, T] = {}
        self.tails: dict[str, T] = {}

    def add(self, name: str, value: T) -> bool:
        """Add a name in lower case. Return False if it exists. Raise ConfigError for a misplaced `*`."""
        if name.startswith("*."):
            places = [(self.heads, name[1:])]
        elif name.startswith("."):
            places = [(self.exact, name[1:]), (self.heads, name)]
        elif name.endswith(".*"):
            places = [(self.tails, name[:-1])]
        else:
            places = [(self.exact, name)]
        if any("*" in key or ".." in key for _, key in places):
            raise _bad(f'invalid hostname or wildcard "{name}"')
        if any(key in table for table, key in places):
            return False
        for table, key in places:
            table[key] = value
        return True

    def find(self, host: str) -> T | None:
        found = self.exact.get(host)
        if found is not None:
            return found
        if self.heads:
            at = host.find(".")
            while at >= 0:
                found = self.heads.get(host[at:])
                if found is not None:
                    return found
                at = host.find(".", at + 1)
        if self.tails:
            at = host.rfind(".")
            while at > 0:
                found = self.tails.get(host[: at + 1])
                if found is not None and at + 1 < len(host):
                    return found
                at = host.rfind(".", 0, at)
        return None


class Map:
    """A `map` block. The keys are tried first, ignoring case, then the patterns in order, then the default."""

    __slots__ = ("_default", "_exact", "_hosts", "_patterns", "_source", "volatile")

    def __init__(
        self,
        source: Template,
        exact: dict[str, Template],
        hosts: HostTable[Template] | None,
        patterns: list[tuple[re.Pattern[str], Template]],
        default: Template,
        volatile: bool,
    ) -> None:
        self._source = source
        self._exact = exact
        self._hosts = hosts
        self._patterns = patterns
        self._default = default
        self.volatile = volatile

    def __call__(self, exchange: Exchange) -> str:
        value = self._source(exchange)
        if self._hosts is None:
            found = self._exact.get(value.lower())
        else:
            value = value.removesuffix(".")
            found = self._hosts.find(value.lower())
        if found is None:
            # Patterns are not tried on an empty value (ngx_http_map_find).
            for pattern, result in self._patterns if value else ():
                match = pattern.search(value)
                if match is not None:
                    take_captures(exchange, match)
                    return result(exchange)
            found = self._default
        return found(exchange)


def take_captures(exchange: Exchange, match: re.Match[str]) -> None:
    """Set the variables of a match: $1 to $9 and the named groups."""
    exchange.captures = (match[0], *match.groups())
    if match.re.groupindex:
        for name, value in match.groupdict().items():
            exchange.variables[name.lower()] = value or ""


def build_map(source: Template, statements: Statements, names: Names) -> Map:
    """Return the `map` of a block's lines, with includes resolved."""
    table: HostTable[Template] = HostTable()
    patterns: list[tuple[re.Pattern[str], Template]] = []
    default: Template | None = None
    hostnames = volatile = False
    for key, args in statements:
        if not args and key in ("hostnames", "volatile"):
            hostnames = hostnames or key == "hostnames"
            volatile = volatile or key == "volatile"
            continue
        if len(args) != 1:
            raise _bad("invalid number of the map parameters")
        value = compile_text(args[0], names)
        if key == "default":
            if default is not None:
                raise _bad("duplicate default map parameter")
            default = value
        elif key.startswith("~"):
            caseless = key.startswith("~*")
            pattern = compile_regex(key[2 if caseless else 1 :], caseless)
            names.declare_captures(pattern)
            patterns.append((pattern, value))
        elif not _add_key(table, key.removeprefix("\\").lower(), value, hostnames):
            raise _bad(f'conflicting parameter "{key}"')
    return Map(source, table.exact, table if hostnames else None, patterns, default or compile_text("", names), volatile)


def _add_key(table: HostTable[Template], key: str, value: Template, hostnames: bool) -> bool:
    """Add a key, which may be a wildcard only after `hostnames`. Return False if it exists."""
    if hostnames:
        return table.add(key, value)
    if key in table.exact:
        return False
    table.exact[key] = value
    return True


# --- split_clients ----------------------------------------------------------------------------------------------------------


class Split:
    """A `split_clients` block: the value for the range of hashes that the source's hash is in."""

    __slots__ = ("_parts", "_source", "volatile")

    def __init__(self, source: Template, parts: list[tuple[int, str]]) -> None:
        self._source = source
        self._parts = parts
        self.volatile = False

    def __call__(self, exchange: Exchange) -> str:
        number = murmur2(self._source(exchange).encode("latin-1"))
        for bound, value in self._parts:
            if not bound or number < bound:
                return value
        return ""


def build_split_clients(source: Template, statements: Statements, names: Names) -> Split:
    """Return the `split_clients` of a block's lines: `N.NN% value` and `* value`."""
    parts: list[tuple[int, str]] = []
    total = bound = 0
    for key, args in statements:
        if len(args) != 1:
            raise _bad("invalid number of the split_clients parameters")
        if key == "*":
            total = 10000
            parts.append((0, args[0]))
            continue
        match = re.fullmatch(r"(\d+)(?:\.(\d{0,2}))?%", key, re.ASCII)
        hundredths = int(match[1]) * 100 + int(f"{match[2] or '':0<2}") if match else 0
        if not hundredths:
            raise _bad(f'invalid percent value "{key}"')
        total += hundredths
        if total > 10000:
            raise _bad("percent total is greater than 100%")
        bound += hundredths * 0xFFFFFFFF // 10000
        parts.append((bound, args[0]))
    return Split(source, parts)


def murmur2(data: bytes) -> int:
    """Return the MurmurHash2 (Austin Appleby, 32 bits, seed 0) by which nginx splits."""
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    number = len(data) & mask
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        part = int.from_bytes(data[at : at + 4], "little") * factor & mask
        part = (part ^ part >> 24) * factor & mask
        number = (number * factor & mask) ^ part
    if whole < len(data):
        number = (number ^ int.from_bytes(data[whole:], "little")) * factor & mask
    number = (number ^ number >> 13) * factor & mask
    return number ^ number >> 15
