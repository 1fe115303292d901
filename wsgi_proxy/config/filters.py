"""The settings of the filters of responses: gzip, gunzip and gzip_static. A part of the model.

Rules:
- A set of media types is lower-case names; None stands for every type (`*`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import Exchange

MediaTypes = frozenset[str] | None

HTML: MediaTypes = frozenset({"text/html"})


@dataclass(frozen=True)
class GzipSettings:
    """ngx_http_gzip_module, ngx_http_gunzip_module and ngx_http_gzip_static_module, and the conditions for compressing."""

    enabled: bool = False
    types: MediaTypes = HTML
    comp_level: int = 1
    min_length: int = 20
    window: int = 15
    """The binary logarithm of the window's size (`gzip_window`)."""
    memory: int = 8
    """zlib's memory level (`gzip_hash`)."""
    proxied: frozenset[str] = frozenset({"off"})
    """The words of `gzip_proxied`."""
    vary: bool = False
    http_version: str = "1.1"
    disable: tuple[re.Pattern[str], ...] = ()
    """Regular expressions for the User-Agent of clients that get no compressed response."""
    disable_msie6: bool = False
    gunzip: bool = False
    static: str = "off"
    """`gzip_static`: "off", "on" or "always"."""


@dataclass(frozen=True)
class BrotliSettings:
    """The settings of ngx_brotli."""

    enabled: bool = False
    types: MediaTypes = HTML
    comp_level: int = 6
    min_length: int = 20
    window: int = 19
    """The binary logarithm of the window's size (`brotli_window`)."""
    static: str = "off"
    """`brotli_static`: "off", "on" or "always"."""


@dataclass(frozen=True)
class CharsetMap:
    """`charset_map source target { … }`, with names in lower case. `pairs` are (byte, its character in the target)."""

    source: str
    target: str
    pairs: tuple[tuple[int, bytes], ...] = ()


TEXTS: MediaTypes = frozenset(
    {"text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"}
)


@dataclass(frozen=True)
class CharsetSettings:
    """ngx_http_charset_module."""

    name: Callable[[Exchange], str] | None = None
    """The template of `charset`, or of `off`."""
    source: Callable[[Exchange], str] | None = None
    """The template of `source_charset`."""
    override: bool = False
    types: MediaTypes = TEXTS
    maps: tuple[CharsetMap, ...] = ()
    known: frozenset[str] = frozenset()
    """The names in all `charset`, `source_charset` and `charset_map` of the configuration, in lower case."""


@dataclass(frozen=True)
class SubSettings:
    """ngx_http_sub_module. `pairs` are (text to search, replacement), both with variables."""

    pairs: tuple[tuple[Callable[[Exchange], str], Callable[[Exchange], str]], ...] = ()
    types: MediaTypes = HTML
    once: bool = True
    last_modified: bool = False


@dataclass(frozen=True)
class SSISettings:
    """ngx_http_ssi_module. `lookup` gives the value of a variable by its lower-case name, None if there is none."""

    enabled: bool = False
    silent_errors: bool = False
    types: MediaTypes = HTML
    value_length: int = 255
    last_modified: bool = False
    lookup: Callable[[Exchange, str], str | None] | None = None


@dataclass(frozen=True)
class AdditionSettings:
    """ngx_http_addition_module: the URIs whose responses surround a body; "" for none."""

    before: str = ""
    after: str = ""
    types: MediaTypes = HTML


MAX_EXPIRES = -1.0
"""The value of `userid_expires max`."""


@dataclass(frozen=True)
class UserIDSettings:
    """ngx_http_userid_module. `enable` is `off`, `log`, `v1` or `on`."""

    enable: str = "off"
    name: str = "uid"
    domain: str = ""
    path: str = "/"
    expires: float = 0.0
    """Seconds; 0 for a cookie of the browser's session, `MAX_EXPIRES` for the end of time."""
    flags: frozenset[str] = frozenset()
    mark: str = ""
    """A character in the place of the cookie's padding; "" for none."""
    p3p: str = ""
    service: int | None = None
    reset: Callable[[Exchange], str] | None = None
    """The template of `$uid_reset`."""
