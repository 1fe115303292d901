"""The fields of an HTTP/2 request: checked, and turned into the request that the worker serves.

Rules:
- A request that RFC 9113, sections 8.1 to 8.3, calls malformed is StreamFault(PROTOCOL_ERROR): pseudo-header fields, names and
  values, fields of the connection, lengths. It gets 400 before its stream is reset, which section 8.1.1 allows and nginx does. A
  request that HTTP/1.1 would refuse as well is ClientError, with nginx's status.
- White space around a value is left out, as in HTTP/1.1 and in nginx.
- Bytes with a meaning in an HTTP/1.1 head are refused: CR, LF, NUL and every other control character, a colon or space in a
  name, a space in the target.
- Fields keep their order and repetitions, in lower case. `host` comes first and equals `:authority`. The parts of a split cookie
  are joined, and come last (RFC 9113, section 8.2.3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...errors import ClientError
from ...http import NOT_IN_TRAILERS, UNIQUE, Pairs, check_host, length_of, with_unique
from ..request import Request, field_keys
from .frames import PROTOCOL_ERROR, StreamFault

if TYPE_CHECKING:
    from ..settings import ListenerSettings

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x7e\x80-\xff]*")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_MEANT: Final = frozenset({"content-length", "host", "cookie", "te", *UNIQUE})
_FORBIDDEN: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_names: Final[dict[str, str]] = {}
"""Return a field's name if it has a meaning here, else ""."""
_MAX_NAMES: Final = 4096
_LINE_TOO_LONG: Final = 414
_HEAD_TOO_LARGE: Final = 494


def _malformed(what: str) -> StreamFault:
    return StreamFault(PROTOCOL_ERROR, f"malformed request: {what}")


def _learn(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _malformed(f"the field name {name[:80]!r}")
    if name in _FORBIDDEN:
        raise _malformed(f"the field {name} of a connection")
    meaning = name if name in _MEANT else ""
    if len(_names) < _MAX_NAMES:
        _names[name] = meaning
    return meaning


def _check_value(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise _malformed(f"a control character in the value of {name}")


def read_request(fields: Pairs, ended: bool, settings: ListenerSettings) -> Request:
    """Return the request of a field block; `ended` says that it has no body. Raises StreamFault and ClientError."""
    head = Request()
    head.modern = head.keep_alive = True
    head.chunked = head.expect_continue = head.underscored = False
    pseudo: dict[str, str] = {}
    pairs: Pairs = []
    host: str | None = None
    cookies: list[str] = []
    seen: set[str] | None = None
    length = -1
    names = _names
    at = 0
    for name, value in fields:
        if name[:1] != ":":
            break
        if name in pseudo or name not in (":method", ":scheme", ":authority", ":path"):
            raise _malformed(f"the pseudo-header field {name[:80]!r}")
        _check_value(name, value)
        pseudo[name] = value
        at += 1
    for name, value in fields[at:] if at else fields:
        meaning = names.get(name)
        if meaning is None:
            meaning = _learn(name)
        if value:
            if not value.isprintable():
                _check_value(name, value)
            if value[0] in " \t" or value[-1] in " \t":
                value = value.strip(" \t")
        if meaning:
            if meaning == "cookie":
                cookies.append(value)
                continue
            if meaning == "host":
                if host is not None:
                    raise _malformed("two Hosts")
                host = value
            elif meaning == "content-length":
                length = _length(value, length)
            elif meaning == "te":
                if value.lower() != "trailers":
                    raise _malformed("a TE that is not trailers")
            else:
                seen = with_unique(name, seen)
                if name == "expect" and value.lower() == "100-continue":
                    head.expect_continue = True
        pairs.append((name, value))
        if "_" in name:
            head.underscored = True
    if cookies:
        pairs.append(("cookie", "; ".join(cookies)))
    head.content_length = length if length >= 0 else None
    if ended and length > 0:
        raise _malformed("a content-length without a body")
    _target(head, pseudo, pairs, host, settings)
    head.pairs = pairs
    head.keys = field_keys(pairs)
    _check_sizes(fields, head, settings, len(fields) - at)
    return head


def _length(value: str, before: int) -> int:
    """Return the number of a Content-Length; `before` is that of another one, or -1."""
    length = length_of(value)
    if length is None or before >= 0:
        raise _malformed("its content-length")
    return length


def _target(head: Request, pseudo: dict[str, str], pairs: Pairs, host: str | None, settings: ListenerSettings) -> None:
    """Read the pseudo-header fields (RFC 9113, sections 8.3.1 and 8.5)."""
    method = pseudo.get(":method", "")
    authority = pseudo.get(":authority")
    path = pseudo.get(":path")
    if not method:
        raise _malformed("no method")
    if settings.folds_methods:
        method = method.upper()
    head.method = method
    if method == "CONNECT":
        if authority is None or ":scheme" in pseudo or path is not None:
            raise _malformed("a CONNECT with a scheme or path, or without an authority")
        head.target = head.uri = authority
    else:
        if not path or not _SCHEME.fullmatch(pseudo.get(":scheme", "")):
            raise _malformed("no path or scheme")
        head.target = head.uri = path
    if not settings.methods.fullmatch(method):
        raise ClientError("client sent an invalid method")
    if authority is not None:
        if host is None:
            pairs.insert(0, ("host", authority))
        elif host != authority:
            raise ClientError("client sent a Host that differs from the authority")
        host = authority
    if not host:
        raise ClientError("client sent a request without Host")
    _, port = check_host(host)
    if method == "CONNECT":
        if not port:
            raise ClientError("client sent CONNECT without a port")
    elif not _TARGET.fullmatch(head.target) and not (head.target == "*" and method == "OPTIONS"):
        raise ClientError("client sent an invalid request target")
    if method == "TRACE":
        raise ClientError("client sent TRACE", status=405)


def _check_sizes(fields: Pairs, head: Request, settings: ListenerSettings, count: int) -> None:
    """Apply `large_client_header_buffers` to the sizes of the same request in HTTP/1.1: 414 for the target, 400 for fields.

    `count` is the number of `fields` that are no pseudo-header fields, to which `max_headers` applies.
    """
    if len(head.method) + len(head.target) + 10 > settings.max_line:
        raise ClientError("client sent too long URI", status=_LINE_TOO_LONG)
    total = 0
    for name, value in fields:
        size = len(name) + len(value) + 2
        if size > settings.max_field:
            raise ClientError("client sent too large request header", status=_HEAD_TOO_LARGE)
        total += size + 2
    if total > settings.max_head:
        raise ClientError("client sent too large request header", status=_HEAD_TOO_LARGE)
    if 0 < settings.max_fields < count:
        raise ClientError("client sent too many header fields", status=_HEAD_TOO_LARGE)


def read_trailers(fields: Pairs) -> Pairs:
    """Return the trailer fields that may be kept (RFC 9110, section 6.5.1). Raises StreamFault."""
    kept: Pairs = []
    for name, value in fields:
        if name[:1] == ":":
            raise _malformed("a pseudo-header field in trailers")
        if name not in _names:
            _learn(name)
        _check_value(name, value)
        if name not in NOT_IN_TRAILERS and "_" not in name:
            kept.append((name, value))
    return kept
