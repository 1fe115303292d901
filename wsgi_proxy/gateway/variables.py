"""The CGI variables of one location for a FastCGI, uwsgi or SCGI server.

Rules (ngx_http_fastcgi_create_request and its kin):
- The variables are those of `fastcgi_param` in the order written, then `HTTP_NAME` for each of the client's fields that no
  `fastcgi_param` sets. Equal fields are joined.
- `Proxy` never becomes a variable (httpoxy, CVE-2016-5385), nor does a field that Connection lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..http import Pairs, headers
from .protocols import gateway_of

if TYPE_CHECKING:
    from ..config import GatewaySettings, Template
    from ..exchange import Exchange

_KNOWN: Final = 2048
"""Spellings of names that a location remembers; a client that invents names cannot exceed it."""
_JOINED: Final = {"HTTP_COOKIE": "; "}
"""The text between equal fields, where it is not a comma (RFC 6265, section 4.2.1)."""


class Variables:
    """The variables that a location sends."""

    __slots__ = ("_given", "_joined", "_params", "_protocol", "_varying")

    def __init__(self, settings: GatewaySettings) -> None:
        self._protocol = gateway_of(settings)
        self._params: list[tuple[str, str, Template | None, bool]] = []
        self._given: set[str] = set()
        for param in settings.param:
            constant = getattr(param.value, "constant", None)
            if constant is None:
                self._params.append((param.name, "", param.value, param.if_not_empty))
            elif constant or not param.if_not_empty:
                self._params.append((param.name, constant, None, False))
            self._given.add(param.name)
        self._joined = settings.joined
        self._varying = sum(value is not None for _, _, value, _ in self._params)

    def head(self, exchange: Exchange, pairs: Pairs, chosen: headers.RequestFilter, length: int | None) -> bytes:
        """Return the bytes before the request's body, `length` bytes long.

        `pairs` are the client's fields, of which `chosen` selects those that are passed on. Raise ProxyError if the variables do
        not fit the protocol.
        """
        params: Pairs = []
        values: list[str] = [] if self._joined is None else self._joined(exchange).split("\0")
        # A value may contain the separator, if a variable is set to it.
        joined = len(values) == self._varying
        number = 0
        for name, text, value, sparing in self._params:
            if value is not None:
                text = values[number] if joined else value(exchange)
                number += 1
                if sparing and not text:
                    continue
            params.append((name, text))
        params += self._fields(exchange, pairs, chosen).items()
        return self._protocol.head(params, length)

    def _fields(self, exchange: Exchange, pairs: Pairs, chosen: headers.RequestFilter) -> dict[str, str]:
        """Return the client's fields as variables."""
        found: dict[str, str] = {}
        connection: str = exchange.environ.get("HTTP_CONNECTION", "")
        listed = headers.listed(connection) - headers.HOP_BY_HOP if connection else frozenset()
        names, given = chosen.variables, self._given
        for name, value in pairs:
            key = names.get(name)
            if key is None:
                key = "HTTP_" + name.upper().replace("-", "_")
                if key in given or not chosen.passes(name):
                    key = ""
                if len(names) < _KNOWN:
                    names[name] = key
            if not key or (listed and name.lower() in listed):
                continue
            if key in found:
                found[key] += _JOINED.get(key, ", ") + value
            else:
                found[key] = value
        if pairs and "HTTP_HOST" not in found and "HTTP_HOST" not in given:
            # HTTP/2 has the host in a pseudo-header.
            host: str = exchange.environ.get("HTTP_HOST", "")
            if host:
                found["HTTP_HOST"] = host
        return found
