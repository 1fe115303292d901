"""`charset`, `source_charset` and `X-Accel-Charset`: name the character set of a response and convert the body to it.

Rules:
- A response that names its character set keeps it, unless `override_charset` is on.
- A body is converted from its own character set, or from `source_charset`, by a `charset_map` between the two. Without a map the
  response stays as it is, and the error log says so. A compressed body is never converted.
Source: ngx_http_charset_filter_module, by behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cache import Entry
from ..http import first, single_line
from ..logs import errorlog
from .fields import clear_length, content_type, drop
from .pipeline import Filter, Transform
from .recoding import recoding

if TYPE_CHECKING:
    from ..config import Location
    from ..exchange import Exchange
    from ..response import Response

_REDIRECTS = frozenset({301, 302})
"""Statuses whose Content-Type gets no character set: old browsers took it for that of the next page."""


def compile_charset(location: Location) -> Filter | None:
    """Return the filter of a location; None without `charset`, if no upstream can name a known character set either."""
    name = location.charset.name
    if name is not None and getattr(name, "constant", None) != "off":
        return Charset(location)
    return Charset(location) if location.charset.known and location.handler == "proxy_pass" else None


class Charset:
    """The filter of one location."""

    __slots__ = ("_accelerated", "_maps", "_settings")
    instant = True

    def __init__(self, location: Location) -> None:
        self._settings = location.charset
        self._accelerated = "x-accel-charset" not in location.proxy.ignore_headers
        self._maps = {(table.source, table.target): (table, False) for table in location.charset.maps}
        self._maps |= {(table.target, table.source): (table, True) for table in location.charset.maps}

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        own = content_type(response)[1]
        target = self._target(exchange, response, own)
        if not target:
            return None
        template = self._settings.source
        if not own and template is None:
            set_charset(response, target)
            return None
        source = own or single_line(template(exchange)) if template is not None else own
        known = self._settings.known
        wanted, found = target.lower(), source.lower()
        if wanted == found:
            if wanted in known or not own:
                set_charset(response, target)
            return None
        if wanted in known and found in known and response.header("content-encoding"):
            return None
        table = self._maps.get((found, wanted))
        if table is None:
            errorlog.line("error", f'no "charset_map" between the charsets "{source}" and "{target}"', exchange)
            return None
        set_charset(response, target)
        made = recoding(*table)
        if made.changes_length:
            if response.source is None:
                clear_length(response)
            else:
                drop(response, "content-length")
                response.length = None
        return made.transform

    def _target(self, exchange: Exchange, response: Response, own: str) -> str:
        """Return the character set that the client gets; "" for the response's own."""
        settings = self._settings
        if exchange.subrequest or not response.header("content-type"):
            return ""
        wanted = ""
        if self._accelerated and response.source is not None:
            source = response.source
            pairs = source.headers if isinstance(source, Entry) else exchange.upstream_pairs
            wanted = first(pairs, "x-accel-charset") or ""
        if wanted:
            if wanted.lower() in settings.known:
                return wanted
            errorlog.line("error", f'unknown charset "{wanted}" to override', exchange)
            return ""
        name = settings.name
        if name is None or getattr(name, "constant", None) == "off":
            return ""
        if own:
            if not settings.override:
                return ""
        elif settings.types is not None and content_type(response)[0] not in settings.types:
            return ""
        return single_line(name(exchange))


def set_charset(response: Response, charset: str) -> None:
    """Put the name of a character set into Content-Type, in place of another one."""
    kind, own = content_type(response)
    charset = "" if response.status in _REDIRECTS else charset
    if response.part_type or not charset and not own:
        return
    for at, (name, text) in enumerate(response.headers):
        if name.lower() == "content-type":
            response.headers[at] = (name, f"{text[: len(kind)]}; charset={charset}" if charset else text[: len(kind)])
            response.charset = charset
            return
