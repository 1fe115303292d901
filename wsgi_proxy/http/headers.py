"""The filters for fields that cross the proxy, in each direction. Pure.

Rules:
- Hop-by-hop fields are not forwarded (RFC 9110, section 7.6.1): the well-known ones and every name that Connection lists. nginx
  and HAProxy forward the listed ones; this proxy follows the RFC.
- No field is invented, merged or reordered except those that the configuration names.
- A client cannot set the fields that an upstream trusts. X-Forwarded-*, X-Real-IP and Forwarded are forwarded only if the
  configuration names them, or from an address that `set_real_ip_from` trusts. `Proxy` is never forwarded (httpoxy,
  CVE-2016-5385), nor is a name with an underscore unless `underscores_in_headers` allows it, because a CGI-like upstream reads
  `X_A` and `X-A` as one.
- Framing (Content-Length, Transfer-Encoding) is never copied from the other side. The sender of a body frames it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from .request_lines import FieldLine
from .syntax import Pairs, tokens

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)
"""Lower-case names that concern one connection (RFC 9110, section 7.6.1; RFC 9112, appendix C.2.2; RFC 7540, section 3.2.1)."""

NEVER_LISTED: Final = frozenset(
    {"host", "content-length", "content-type", "authorization", "cookie", "cache-control", "set-cookie", "date"}
)
"""End-to-end fields that a Connection list cannot remove; a client that names them is malicious (RFC 9110, section 7.6.1)."""

REQUEST_DROPPED: Final = HOP_BY_HOP | {"content-length", "expect", "proxy", "host", "proxy-authorization"}
"""Fields that are never copied from a request: hop-by-hop fields, those that the proxy sets itself, Proxy (httpoxy), and
credentials for the proxy alone (RFC 9110, section 11.7.2)."""

FORWARDED: Final = frozenset({"forwarded", "x-real-ip"})
"""Fields that upstreams trust about the client, together with every name that begins with `x-forwarded-`."""

RESPONSE_HIDDEN: Final = frozenset(
    {
        "date",
        "server",
        "x-pad",
        "x-accel-expires",
        "x-accel-redirect",
        "x-accel-limit-rate",
        "x-accel-buffering",
        "x-accel-charset",
    }
)
"""Fields of an upstream's response that nginx hides (ngx_http_proxy_module, proxy_pass_header)."""

GATEWAY_DROPPED = frozenset({"proxy"})
"""Fields that never become CGI variables; the others only inform an application (ngx_http_fastcgi_module)."""

GATEWAY_HIDDEN = RESPONSE_HIDDEN - {"date", "server", "x-pad"}
"""Fields of a CGI response that nginx hides (ngx_http_uwsgi_module, uwsgi_pass_header); for FastCGI and SCGI Status as well."""

_NGINX_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_NGINX_NAME_UNDERSCORE: Final = re.compile(r"[A-Za-z0-9_-]+")


def listed(connection: str) -> frozenset[str]:
    """Return the end-to-end names that a Connection field makes hop-by-hop."""
    # A client cannot remove the fields that a trusted proxy in front of this one set about it.
    return frozenset(name for name in tokens(connection) if name not in NEVER_LISTED and not is_forwarded(name))


def is_forwarded(name: str) -> bool:
    """Return True if a lower-case name belongs to the X-Forwarded family."""
    return name in FORWARDED or name.startswith("x-forwarded-")


def acceptable(name: str, underscores: bool) -> bool:
    """Return True if a name is valid for nginx (ngx_http_core_module, ignore_invalid_headers, underscores_in_headers)."""
    pattern = _NGINX_NAME_UNDERSCORE if underscores else _NGINX_NAME
    return pattern.fullmatch(name) is not None


class RequestFilter:
    """A filter of request fields. It decides once per spelling of a name and remembers the result.

    `replaced` are the lower-case names that the configuration sets; `trusted` forwards the X-Forwarded family.
    """

    __slots__ = ("_drop", "_fates", "_ignore_invalid", "_known", "_replaced", "_trusted", "_underscores", "variables")

    LIMIT: ClassVar[int] = 2048
    """Spellings remembered by a filter; a client that invents names cannot exceed it."""

    def __init__(
        self,
        replaced: Iterable[str],
        *,
        trusted: bool = False,
        underscores: bool = False,
        ignore_invalid: bool = True,
        dropped: frozenset[str] = REQUEST_DROPPED,
    ) -> None:
        self._replaced = frozenset(replaced)
        self._drop = dropped
        self._trusted = trusted
        # `ignore_invalid_headers off` accepts every name that is a token.
        self._underscores = underscores or not ignore_invalid
        self._ignore_invalid = ignore_invalid
        self._known: dict[str, bool] = {}
        self._fates: list[int] = []
        """The decisions by the number of a spelling (FieldName): 0 for none yet, 1 to drop a field, 2 to forward it."""
        self.variables: dict[str, Any] = {}
        """For a gateway: the CGI variable of each spelling of a name."""

    def passes(self, name: str) -> bool:
        """Return True if a field of this name, in the client's spelling, is forwarded."""
        known = self._known.get(name)
        if known is None:
            known = self._decide(name)
            if len(self._known) < self.LIMIT:
                self._known[name] = known
        return known

    def _decide(self, name: str) -> bool:
        lower = name.lower()
        if lower in self._drop or lower in self._replaced:
            return False
        if "_" in name and not self._underscores:
            return False
        if self._ignore_invalid and not acceptable(name, self._underscores):
            return False
        return self._trusted or not is_forwarded(lower)

    def copy(self, pairs: Pairs, connection: str) -> list[str]:
        """Return `Name: value` lines of the forwarded fields, in order. `connection` is the client's Connection field."""
        known = self._known
        lines = []
        for name, value in pairs:
            passes = known.get(name)
            if passes is None:
                passes = self.passes(name)
            if passes:
                lines.append(f"{name}: {value}")
        if connection and (names := listed(connection) - {"close", "keep-alive", "upgrade"}):
            lines = [line for line in lines if line.partition(":")[0].lower() not in names]
        return lines

    def lines(self, fields: list[FieldLine], connection: str) -> list[bytes]:
        """Return the lines of the forwarded fields as `copy` does, of fields that were checked as they arrived."""
        if connection and (names := listed(connection) - {"close", "keep-alive", "upgrade"}):
            return [field.line for field in fields if self.passes(field.name) and field.name.lower() not in names]
        fates = self._fates
        size = len(fates)
        lines = []
        for field in fields:
            number = field.number
            fate = fates[number] if number < size else 0
            if not fate:
                fate = self._fate(field)
                size = len(fates)
            if fate == 2:
                lines.append(field.line)
        return lines

    def _fate(self, field: FieldLine) -> int:
        """Decide about a field whose spelling is new, and remember the decision."""
        fate = 2 if self.passes(field.name) else 1
        number = field.number
        if number < self.LIMIT:
            fates = self._fates
            while len(fates) <= number:
                fates.append(0)
            fates[number] = fate
        return fate


class ResponseFilter:
    """A filter of response fields. It decides once per spelling of a name and remembers the result.

    `hidden` are the dropped names, `changed` those whose values may be rewritten; both in lower case.
    """

    __slots__ = ("_changed", "_hidden", "_known")

    _DROPPED: Final = 0
    _KEPT: Final = 1
    _CHANGED: Final = 2
    _CONNECTION: Final = 3

    def __init__(self, hidden: frozenset[str], changed: Iterable[str] = ()) -> None:
        self._hidden = hidden
        self._changed = frozenset(changed)
        self._known: dict[str, int] = {}

    def to_client(self, pairs: Pairs) -> tuple[Pairs, bool]:
        """Return the forwarded fields in order, and True if one of `changed` is among them."""
        known = self._known
        kept = []
        changed = False
        connection = ""
        for pair in pairs:
            fate = known.get(pair[0])
            if fate is None:
                fate = self._decide(pair[0])
            if fate == 1:
                kept.append(pair)
            elif fate == 2:
                kept.append(pair)
                changed = True
            elif fate == 3 and pair[1] not in _PLAIN_CONNECTIONS:
                connection = f"{connection},{pair[1]}" if connection else pair[1]
        if connection and (names := listed(connection) - {"close", "keep-alive", "upgrade"}):
            kept = [pair for pair in kept if pair[0].lower() not in names]
        return kept, changed

    def _decide(self, name: str) -> int:
        lower = name.lower()
        if lower == "connection":
            fate = self._CONNECTION
        elif lower in self._hidden:
            fate = self._DROPPED
        else:
            fate = self._CHANGED if lower in self._changed else self._KEPT
        if len(self._known) < RequestFilter.LIMIT:
            self._known[name] = fate
        return fate


_PLAIN_CONNECTIONS: Final = frozenset({"keep-alive", "close", "Keep-Alive", "Close"})


def hops_left(max_forwards: str) -> int | None:
    """Return the Max-Forwards that an OPTIONS request has left behind this proxy (RFC 9110, section 7.6.2).

    -1 means that the request must not be forwarded, None that the field is not a number.

    >>> hops_left("10"), hops_left("0"), hops_left("x")
    (9, -1, None)
    """
    if not (max_forwards.isascii() and max_forwards.isdigit() and len(max_forwards) < 10):
        return None
    return int(max_forwards) - 1


def hidden_names(hide: Iterable[str], passed: Iterable[str], always: frozenset[str] = RESPONSE_HIDDEN) -> frozenset[str]:
    """Return the names that a ResponseFilter drops: hop-by-hop, nginx's list `always` without `passed`, and `hide`."""
    names = (always - {name.lower() for name in passed}) | {name.lower() for name in hide}
    return frozenset(names | HOP_BY_HOP)


def first(pairs: Pairs, name: str) -> str | None:
    """Return the first value of a field without surrounding white space (RFC 9110, section 5.5); `name` is in lower case."""
    for key, value in pairs:
        if key.lower() == name:
            return value.strip(" \t")
    return None
