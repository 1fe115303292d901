"""`charset`: adds the name of a character set to Content-Type.

Source: ngx_http_charset_filter_module, by behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http import single_line
from .fields import content_type
from .pipeline import Filter, Transform

if TYPE_CHECKING:
    from ..config import Location, Template
    from ..exchange import Exchange
    from ..response import Response

_TYPES = frozenset({"text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"})
"""The default of `charset_types`."""

_REDIRECTS = frozenset({301, 302})


def compile_charset(location: Location) -> Filter | None:
    """Return the filter of a location; None without `charset`."""
    value = location.core.charset
    return Charset(value) if value is not None and getattr(value, "constant", None) != "off" else None


class Charset:
    """The filter of one location."""

    __slots__ = ("_value",)

    def __init__(self, value: Template) -> None:
        self._value = value

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        if response.status in _REDIRECTS:
            return None
        kind, known = content_type(response)
        if kind in _TYPES and not known:
            charset = single_line(self._value(exchange))
            if charset and charset != "off":
                set_charset(response, charset)
        return None


def set_charset(response: Response, charset: str) -> None:
    """Put the name of a character set into Content-Type, in place of another one."""
    for at, (name, text) in enumerate(response.headers):
        if name.lower() == "content-type":
            kind = text[: len(content_type(response)[0])].rstrip(" ")
            response.headers[at] = (name, f"{kind}; charset={charset}")
            response.charset = charset
            return
