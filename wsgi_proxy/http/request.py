"""The strict parser of HTTP/1 request heads. Pure.

Rules:
- Bytes in, values out: no socket, configuration or clock.
- A head with more than one reading is refused with ClientError and nginx's status. docs/security.md has the table, and each
  refusal below names its section of RFC 9112 or RFC 9110.
- Lines end with CRLF. nginx also accepts a bare LF, but a peer that does not would then see another message.
- Field names and values keep their case, order and bytes (decoded as latin-1). Only the white space around a value is removed.
- The caller limits the size of a head and passes a complete one, CRLF CRLF included.

Why not a parser in C: for a browser's five-field request, the callbacks of httptools alone take 2.3 µs, it refuses unknown
methods, and the strict checks would still be missing. Here a recurring line is one look-up, and another one is one pass in C.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import ClientError, InvalidLine, MissingHost
from .request_lines import UNDERSCORE, FieldLine, LineMemory, check_characters
from .syntax import ALLOWED, METHOD, NO_TOKENS, Pairs, length_of, tokens
from .uri import absolute_form, check_host

_SHORTEST_METHOD: Final = 3
"""The shortest method that a pattern of methods may require, in characters."""
_LISTS: Final = frozenset({"", UNDERSCORE, "connection", "upgrade"})
"""The meanings of fields that a request may repeat."""
_VERSION: Final = re.compile(r"HTTP/([0-9])\.([0-9])")
_USUAL: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
"""Methods that every pattern of methods accepts."""
_memory: Final = LineMemory()


class RequestHead:
    """One request's head.

    `target` is as sent; `uri` is its origin form (path and query), `*`, or a CONNECT's authority. `host` is the Host field as
    sent, or the authority of the target if it has one; the Host pair then has the same value (RFC 9112, section 3.2.2).
    `connection_tokens` are in lower case. `content_length` is None if none was sent. A request with neither a length nor
    `chunked` has no body. `expect_continue` and `upgrade` are empty where the field must be ignored (RFC 9110, sections 10.1.1
    and 7.8): in HTTP/1.0, and `upgrade` if Connection does not name it. `underscored` is True if a name has an underscore,
    `modern` for HTTP/1.1 and later.
    """

    __slots__ = (
        "_pairs", "chunked", "connection_tokens", "content_length", "expect_continue", "fields", "host", "keep_alive", "method",
        "modern", "scheme", "target", "underscored", "upgrade", "uri",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = self.target = self.uri = ""
        self.modern = self.keep_alive = True
        self.fields: list[FieldLine] | None = None
        """The lines of the fields, of which `pairs` is made; None in HTTP/2."""
        self._pairs: Pairs | None = None
        self.scheme = ""
        """The scheme of an absolute-form target in lower case, else empty."""
        self.host = self.upgrade = ""
        self.content_length: int | None = None
        self.chunked = self.expect_continue = self.underscored = False
        self.connection_tokens = NO_TOKENS

    @property
    def pairs(self) -> Pairs:
        """The fields as (name, value), in order, with repetitions."""
        if self._pairs is None:
            self._pairs = [field.pair for field in self.fields or []]
        return self._pairs

    @pairs.setter
    def pairs(self, pairs: Pairs) -> None:
        self._pairs = pairs

    @property
    def version(self) -> tuple[int, int]:
        return (1, 1) if self.modern else (1, 0)


def parse_request_head(data: bytes, methods: re.Pattern[str] = METHOD) -> RequestHead:
    """Parse a complete head, from the request line to CRLF CRLF; `methods` is the pattern of accepted methods.

    Raises ClientError: 400, 405, 501 or 505.
    """
    lines = data.split(b"\r\n")
    if len(lines) < 3 or lines.pop() or lines.pop():
        raise ClientError("client sent an incomplete head")
    head = RequestHead()
    take_request_lines(head, lines, methods)
    return head


def take_request_lines(head: RequestHead, lines: list[bytes], methods: re.Pattern[str]) -> None:
    """Write the lines of a head, without the empty one, on `head`. Raises as parse_request_head does."""
    try:
        check_characters(lines[0])
    except ClientError as error:
        raise InvalidLine(str(error)) from error
    _request_line(head, lines[0].decode("latin-1"), methods)
    fields: list[FieldLine] = []
    special: list[FieldLine] = []
    for at in range(1, len(lines)):
        field = _memory.find(lines[at], at - 1)
        fields.append(field)
        if field.meaning:
            if field.meaning == UNDERSCORE:
                head.underscored = True
            else:
                special.append(field)
    head.fields = _memory.last = fields
    if special:
        _request_fields(head, special)
    target = head.target
    if target[0:1] != "/" or "#" in target or "\t" in target or head.method == "CONNECT":
        _other_target(head)
    elif head.host:
        check_host(head.host)
    elif head.modern:
        raise MissingHost("client sent a request without Host")  # RFC 9112, section 3.2
    if head.method == "TRACE":
        raise ClientError("client sent TRACE", status=405)  # RFC 9110, section 9.3.8: it echoes fields; nginx refuses it, too


def _request_line(head: RequestHead, line: str, methods: re.Pattern[str]) -> None:
    """Write the method, the target and the version of a request line on `head`."""
    words = line.split(" ")
    if len(words) != 3:
        raise InvalidLine("client sent an invalid request line")  # RFC 9112, section 3: single spaces
    head.method, target, version = words
    if head.method not in _USUAL and not methods.fullmatch(head.method):
        raise InvalidLine("client sent an invalid method")
    head.target = head.uri = target
    if version != "HTTP/1.1":
        head.modern = head.keep_alive = _is_modern(version)


def _is_modern(version: str) -> bool:
    found = _VERSION.fullmatch(version)
    if not found:
        raise InvalidLine("client sent an invalid HTTP version")
    if found[1] != "1":
        raise InvalidLine(f"client sent {version}", status=505 if found[1] > "1" else 400)
    # RFC 9110, section 2.5: a higher minor version is treated as HTTP/1.1.
    return found[2] != "0"


def _request_fields(head: RequestHead, special: list[FieldLine]) -> None:
    """Apply the fields that name the host and frame the body, and refuse a second one of those that are unique."""
    hosts = 0
    upgrade = expect = ""
    seen: set[str] | None = None
    coding: str | None = None
    for field in special:
        name, value = field.meaning, field.value
        if name == "host":
            hosts += 1
            head.host = value
        elif name == "connection":
            head.connection_tokens = head.connection_tokens | tokens(value)
        elif name == "content-length":
            if head.content_length is not None:
                raise ClientError("client sent Content-Length twice")  # RFC 9112, section 6.3
            head.content_length = length_of(value)
            if head.content_length is None:
                raise ClientError(f"client sent an invalid Content-Length: {value[:40]!r}")
        elif name == "transfer-encoding":
            if coding is not None:
                raise ClientError("client sent Transfer-Encoding twice")
            coding = value
        elif name == "upgrade":
            upgrade = f"{upgrade}, {value}" if upgrade else value
        else:
            seen = with_unique(name, seen)
            if name == "expect":
                expect = value
    if hosts > 1:
        raise ClientError("client sent Host twice")  # RFC 9112, section 3.2
    if hosts and not head.host:
        raise ClientError("client sent an empty Host")
    if coding is not None:
        _request_coding(head, coding)
    modern = head.modern
    names = head.connection_tokens
    if names:
        head.keep_alive = "close" not in names and (modern or "keep-alive" in names)  # RFC 9112, section 9.3
        if upgrade and modern and "upgrade" in names:
            head.upgrade = upgrade
    if expect and modern:
        head.expect_continue = expect.lower() == "100-continue"


def with_unique(name: str, seen: set[str] | None) -> set[str]:
    """Return `seen` with the name of a field that a request may have once (UNIQUE). Raises ClientError if it is there already."""
    if seen is None:
        return {name}
    if name in seen:
        raise ClientError(f"client sent {name} twice")  # RFC 9110, section 5.3
    seen.add(name)
    return seen


def _request_coding(head: RequestHead, coding: str) -> None:
    """Accept chunked once and no other framing (RFC 9112, sections 6.1 and 6.3)."""
    if not head.modern:
        raise ClientError("client sent Transfer-Encoding in HTTP/1.0")
    if coding.lower() != "chunked":
        raise ClientError(f"client sent an unknown Transfer-Encoding: {coding[:40]!r}", status=501)
    if head.content_length is not None:
        raise ClientError("client sent Content-Length and Transfer-Encoding")
    head.chunked = True


def _other_target(head: RequestHead) -> None:
    """Parse a target that is not in origin form (RFC 9112, section 3.2): absolute, CONNECT's authority, or OPTIONS' `*`."""
    target = head.target
    if "#" in target or "\t" in target or not target:
        raise InvalidLine("client sent an invalid request target")
    if not head.host and head.modern:
        raise MissingHost("client sent a request without Host")
    if head.method == "CONNECT":
        if head.content_length or head.chunked:
            raise ClientError("client sent CONNECT with a body")  # RFC 9110, section 9.3.6: it has no meaning
        _, port = check_host(target)
        if not port:
            raise ClientError("client sent CONNECT without a port")
        _for_host(head, target)
        return
    if target == "*" and head.method == "OPTIONS":
        if head.host:
            check_host(head.host)
        return
    parts = absolute_form(target)
    if parts is None or parts[0] not in ("http", "https"):
        raise InvalidLine("client sent an invalid request target")
    head.scheme, authority, head.uri = parts
    check_host(authority)
    _for_host(head, authority)


def _for_host(head: RequestHead, authority: str) -> None:
    """Let the target's authority win: a Host that differs is replaced (RFC 9112, section 3.2.2)."""
    if head.host:
        check_host(head.host)
        if head.host != authority and head.fields is not None:
            head.fields = [_with_value(field, authority) if field.meaning == "host" else field for field in head.fields]
    head.host = authority


def refused_host(head: bytes, longest: int) -> str:
    """Return the host of a refused head: that of its target, else its first Host field; "" without one before the fault.

    The head may be incomplete. A field line over `longest` bytes is a fault.
    """
    lines = head.lstrip(b"\r\n").split(b"\r\n")
    words = lines[0].decode("latin-1").split(" ")
    if len(words) == 3 and words[1][:1] != "/":
        parts = absolute_form(words[1])
        if parts is not None and parts[1]:
            return parts[1]
    seen = set()
    # The last line is incomplete, or behind the last line end.
    for line in lines[1:-1]:
        if not line or len(line) > longest:
            break
        try:
            field = _memory.learn(line)
        except ClientError:
            break
        if field.meaning == "host":
            return field.value
        if field.meaning in seen and field.meaning not in _LISTS:
            break
        seen.add(field.meaning)
    return ""


def _with_value(field: FieldLine, value: str) -> FieldLine:
    return _memory.learn(f"{field.name}: {value}".encode("latin-1"))


def check_partial_request(data: bytes, methods: re.Pattern[str] = METHOD) -> None:
    """Raise ClientError if an incomplete head can no longer become valid.

    Without it a client that ends lines with a bare LF, or speaks another protocol, would wait for a timeout instead of a 400. A
    CR at the very end of `data` may still become the end of a line.
    """
    ends = data.count(b"\r\n")
    if data.count(b"\n") != ends or data.count(b"\r") - data.endswith(b"\r") != ends:
        raise ClientError("client sent a bare CR or LF")
    if ends:
        _request_line(RequestHead(), data[: data.index(b"\r\n")].decode("latin-1"), methods)
    elif data not in (b"", b"\r"):
        method, space, _ = data.partition(b" ")
        if not space and len(method) < _SHORTEST_METHOD:
            # It may still become long enough.
            method += b"A" * _SHORTEST_METHOD
        if not methods.fullmatch(method.decode("latin-1")):
            raise InvalidLine("client sent an invalid method")
    if data.translate(None, ALLOWED):
        raise ClientError("client sent a control character in the request's head")
