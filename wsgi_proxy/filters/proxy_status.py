"""Proxy-Status: the field in which a proxy says what an upstream answered, or why there is no answer.

Rules:
- A response that came from an upstream server has `received-status`; one that stands for a failure has `error`. A response that
  is neither, such as a file or a cached response, has no field.
- The member of this proxy follows those that the upstream server has sent.
- Addresses of upstream servers are told with `next_hop` alone, and details never: they may name inner hosts.
Source: RFC 9209; RFC 8941 for the syntax.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Location, ProxyStatus
    from ..exchange import Exchange
    from ..response import Response
    from .pipeline import Filter, Transform

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_OWN_STATUSES = frozenset({404, 405, 412, 416})
"""Statuses of a request that this server has understood and answered as an origin."""


def compile_proxy_status(location: Location) -> Filter | None:
    """Return the filter of a location; None without `proxy_status_header on`."""
    settings = location.core.proxy_status
    return None if settings is None else ProxyStatusField(settings)


class ProxyStatusField:
    """The filter of one location."""

    __slots__ = ("_name", "_next_hop")

    def __init__(self, settings: ProxyStatus) -> None:
        self._name = bare_item(settings.name)
        self._next_hop = settings.next_hop

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        value = "" if exchange.subrequest else self._parameters(exchange)
        if value:
            response.headers.append(("Proxy-Status", self._name + value))
        return None

    def _parameters(self, exchange: Exchange) -> str:
        last = exchange.tries[-1] if exchange.tries else None
        if last is not None and last.header_time is not None and not last.error:
            found = f"; received-status={last.status}"
        elif exchange.error_type and exchange.status not in _OWN_STATUSES:
            found = f"; error={exchange.error_type}"
        else:
            return ""
        if self._next_hop and last is not None and last.address:
            found += f"; next-hop={bare_item(last.address)}"
        return found


def bare_item(text: str) -> str:
    """Return a text as a token if it is one, else as a string (RFC 8941, sections 3.3.3 and 3.3.4).

    >>> bare_item("edge"), bare_item('10.0.0.1:80 "a"')
    ('edge', '"10.0.0.1:80 \\\\"a\\\\""')
    """
    if _TOKEN.fullmatch(text):
        return text
    shown = "".join(char if " " <= char <= "~" else "?" for char in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
