"""Which fields cross the proxy, in each direction. Pure.

Rules:
- Hop-by-hop fields end here (RFC 9110, 7.6.1): the well-known ones and every name that Connection lists. nginx and HAProxy pass
  the listed ones on; we follow the RFC.
- No field is invented, merged or reordered but those the configuration names.
- A client cannot set what an upstream trusts: X-Forwarded-*, X-Real-IP and Forwarded go on only where the configuration names
  them, or from an address that `set_real_ip_from` trusts; `Proxy` never does (httpoxy, CVE-2016-5385), and a name with an
  underscore never does unless `underscores_in_headers` says so (a CGI-like upstream reads `X_A` and `X-A` as one).
- Framing (Content-Length, Transfer-Encoding) is never copied from the other side: whoever sends the body says how it is framed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, Final

from .syntax import Pairs, tokens

HOP_BY_HOP = frozenset(
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
"""Names that concern one connection only, lower case (RFC 9110, 7.6.1; RFC 9112, C.2.2; RFC 7540, 3.2.1)."""

NEVER_LISTED = frozenset(
    {"host", "content-length", "content-type", "authorization", "cookie", "cache-control", "set-cookie", "date"}
)
"""End-to-end fields that a Connection list cannot take away: a client that names them means to confuse (RFC 9110, 7.6.1)."""

REQUEST_DROPPED = HOP_BY_HOP | {"content-length", "expect", "proxy", "host", "proxy-authorization"}
"""What is never copied from the client's request: hop-by-hop, what we frame or set ourselves, httpoxy's name, and what the client
tells its proxy alone (RFC 9110, 11.7.2)."""

FORWARDED = frozenset({"forwarded", "x-real-ip"})
"""With every name that begins with `x-forwarded-`: what upstreams believe about the client."""

RESPONSE_HIDDEN = frozenset(
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
"""What nginx does not pass from an upstream's answer unless `proxy_pass_header` names it (ngx_http_proxy_module)."""

_NGINX_NAME = re.compile(r"[A-Za-z0-9-]+")
_NGINX_NAME_UNDERSCORE = re.compile(r"[A-Za-z0-9_-]+")


def listed(connection: str) -> frozenset[str]:
    """The end-to-end names that a Connection field turns into hop-by-hop ones."""
    # Nor does a client take away what a proxy before us, one that is trusted, says about it.
    return frozenset(name for name in tokens(connection) if name not in NEVER_LISTED and not is_forwarded(name))


def is_forwarded(name: str) -> bool:
    """Whether a lower-case name belongs to the X-Forwarded family."""
    return name in FORWARDED or name.startswith("x-forwarded-")


def acceptable(name: str, underscores: bool) -> bool:
    """Whether nginx calls a field's name valid (`ignore_invalid_headers`, `underscores_in_headers`)."""
    pattern = _NGINX_NAME_UNDERSCORE if underscores else _NGINX_NAME
    return pattern.fullmatch(name) is not None


class RequestFilter:
    """Decides once per spelling of a name whether it goes on to the upstream; a dictionary look-up from then on.

    `replaced` are the lower-case names that the configuration sets itself; `trusted` lets the X-Forwarded family through.
    """

    __slots__ = ("_drop", "_ignore_invalid", "_known", "_replaced", "_trusted", "_underscores")

    LIMIT: ClassVar[int] = 2048
    """Spellings remembered; a client that invents names cannot make it grow."""

    def __init__(
        self, replaced: Iterable[str], *, trusted: bool = False, underscores: bool = False, ignore_invalid: bool = True
    ) -> None:
        self._replaced = frozenset(replaced)
        self._drop = REQUEST_DROPPED
        self._trusted = trusted
        self._underscores = underscores
        self._ignore_invalid = ignore_invalid
        self._known: dict[str, bool] = {}

    def passes(self, name: str) -> bool:
        """Whether a field of this name, in the client's spelling, is copied."""
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
        """`Name: value` lines of the fields that go on, in the client's order. `connection` is the client's Connection field."""
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


class ResponseFilter:
    """Decides once per spelling of a name what becomes of an answer's field; a dictionary look-up from then on.

    `hidden` are the names that are dropped, `changed` those whose values somebody may want to rewrite, both in lower case.
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
        """The fields that go on to the client, in order, and whether one of `changed` is among them."""
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


_PLAIN_CONNECTIONS = frozenset({"keep-alive", "close", "Keep-Alive", "Close"})


def hops_left(max_forwards: str) -> int | None:
    """How many more proxies an OPTIONS request may pass behind us (RFC 9110, 7.6.2): -1 if it must not go on, None if the field
    says nothing that can be understood.

    >>> hops_left("10"), hops_left("0"), hops_left("x")
    (9, -1, None)
    """
    if not (max_forwards.isascii() and max_forwards.isdigit() and len(max_forwards) < 10):
        return None
    return int(max_forwards) - 1


def hidden_names(hide: Iterable[str], passed: Iterable[str]) -> frozenset[str]:
    """What an AnswerFilter drops: hop-by-hop, nginx's own list less `proxy_pass_header`, and `proxy_hide_header`."""
    names = (RESPONSE_HIDDEN - {name.lower() for name in passed}) | {name.lower() for name in hide}
    return frozenset(names | HOP_BY_HOP)


def first(pairs: Pairs, name: str) -> str | None:
    """Return the first value of a field without surrounding white space (RFC 9110, section 5.5); `name` is in lower case."""
    for key, value in pairs:
        if key.lower() == name:
            return value.strip(" \t")
    return None
