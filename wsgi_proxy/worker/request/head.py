"""Request heads, parsed with a memory, because a client's requests mostly repeat the same fields.

Rules:
- `http.parse_request_head` and `environ.field_keys` interpret a block of fields once. Another head with the same bytes behind an
  ordinary request line reuses the result.
- A request line is ordinary if it has one reading whatever the fields are: a common method, an acceptable target in origin form,
  HTTP/1.1. Every other head, and every fault, is left to the parser.
- Each request gets copies, so that it cannot change the results for the next one.
- Only a block that was seen twice lately is kept, because heads that differ each time (cookies, validators) would push out the
  others.
- The memory is bounded to `_MAX_BLOCKS` blocks of `_MAX_SIZE` bytes. A full memory is cleared.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...errors import ClientError, InvalidLine
from ...http import METHOD, FieldLine, Pairs, RequestHead, check_partial_request, parse_request_head, refused_host
from .environ import field_keys

if TYPE_CHECKING:
    from ..settings import ListenerSettings

_TARGET: Final = bytes(range(0x21, 0x23)) + bytes(range(0x24, 0x7F)) + bytes(range(0x80, 0x100))
"""Visible characters except `#` (RFC 9112, section 3.2), as in `http.request`."""
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")
_CR: Final = 0x0D
_LINE_TOO_LONG: Final = 414
_HEAD_TOO_LARGE: Final = 494
_MAX_BLOCKS: Final = 256
_MAX_SIZE: Final = 1024

_MAX_SEEN: Final = 4096

_known: Final[dict[bytes, Request]] = {}
_seen: Final[set[int]] = set()
"""The hashes of blocks that were seen once."""


class Request:
    """The parts of a head that the worker needs, named as in `http.RequestHead`; `keys` are the environ keys of the fields."""

    __slots__ = (
        "chunked",
        "_keys",
        "content_length",
        "expect_continue",
        "fields",
        "keep_alive",
        "method",
        "modern",
        "pairs",
        "target",
        "underscored",
        "uri",
    )

    chunked: bool
    content_length: int | None
    expect_continue: bool
    fields: list[FieldLine] | None
    """The lines of the fields in HTTP/1, from which `pairs` and `keys` are made; None in HTTP/2."""
    keep_alive: bool
    method: str
    modern: bool
    """HTTP/1.1 or later."""
    pairs: Pairs
    target: str
    underscored: bool
    """True if the name of a field has an underscore; `keys` omits that field."""
    uri: str
    _keys: dict[str, str] | None

    def __init__(self) -> None:
        self.fields = None
        self._keys = None

    @property
    def keys(self) -> dict[str, str]:
        """The environ keys of the fields, with their values."""
        keys = self._keys
        if keys is None:
            keys = self._keys = field_keys(self.pairs)
        return keys

    @keys.setter
    def keys(self, keys: dict[str, str]) -> None:
        self._keys = keys

    @staticmethod
    def refused(method: str, host: str) -> Request:
        """Return a placeholder for a request that could not be read, for its error response; `host` may be empty."""
        request = Request()
        request.method = method
        request.target = request.uri = "/"
        request.pairs = []
        request.keys = {"HTTP_HOST": host} if host else {}
        request.modern = True
        request.chunked = request.expect_continue = request.keep_alive = request.underscored = False
        request.content_length = None
        return request

    @staticmethod
    def of_refused(head: bytes, settings: ListenerSettings) -> Request:
        """Return a placeholder for a refused head, with the method and target of its first line for the log, and its host."""
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        request = Request.refused(words[0] if METHOD.fullmatch(words[0]) else "GET", refused_host(head, settings.max_field))
        if len(words) > 1:
            request.target = words[1]
        return request

    @property
    def version(self) -> tuple[int, int]:
        return (1, 1) if self.modern else (1, 0)


def take_request(buffer: bytes, settings: ListenerSettings) -> tuple[Request | None, bytes]:
    """Return the first head in `buffer`, None if it is incomplete, and the remaining bytes.

    Raises ClientError as soon as the head can no longer become acceptable.
    """
    if buffer[0] == _CR and buffer.startswith(b"\r\n"):
        # Empty lines before a request are ignored (RFC 9112, section 2.2).
        buffer = _EMPTY_LINES.sub(b"", buffer, 1)
        if not buffer:
            return None, b""
    end = buffer.find(b"\r\n\r\n") + 4
    if end == 3:
        if len(buffer) > settings.max_line:
            _check_sizes(buffer, settings)
        check_partial_request(buffer, settings.methods)
        return None, buffer
    if end == len(buffer):
        rest = b""
    else:
        rest = buffer[end:]
        buffer = buffer[:end]
    if end > settings.max_field or end > settings.max_line:
        _check_sizes(buffer, settings)
    request = read_request(buffer, settings.methods)
    if settings.folds_methods:
        request.method = request.method.upper()
    if 0 < settings.max_fields < len(request.pairs):
        raise ClientError("client sent too many header fields", status=_HEAD_TOO_LARGE)
    return request, rest


def _check_sizes(head: bytes, settings: ListenerSettings) -> None:
    """Raise ClientError for a head over the limits: 414 for the request line, 494 (sent as 400) for a field or the whole."""
    line, _, fields = head.removesuffix(b"\r").partition(b"\r\n")
    if len(line) > settings.max_line:
        raise InvalidLine("client sent too long URI", status=_LINE_TOO_LONG)
    if len(head) > settings.max_head or any(len(field) > settings.max_field for field in fields.split(b"\r\n")):
        raise ClientError("client sent too large request header", status=_HEAD_TOO_LARGE)


def read_request(data: bytes, methods: re.Pattern[str] = METHOD) -> Request:
    """Parse a complete head, CRLF CRLF included, as parse_request_head does. Raises ClientError."""
    cut = data.find(b"\r\n")
    block = data[cut:]
    known = _known.get(block)
    if known is not None:
        words = data[:cut].split(b" ")
        if len(words) == 3 and words[2] == b"HTTP/1.1":
            target = words[1]
            method = _METHODS.get(words[0])
            if method is not None and target[:1] == b"/" and not target.translate(None, _TARGET):
                request = Request()
                request.method = method
                request.target = request.uri = target.decode("latin-1")
                request.modern = True
                request.pairs = known.pairs[:]
                request.fields = known.fields
                request._keys = known._keys
                request.keep_alive = known.keep_alive
                request.content_length = known.content_length
                request.chunked = known.chunked
                request.expect_continue = known.expect_continue
                request.underscored = known.underscored
                return request
    return _read_afresh(data, block, methods)


def _read_afresh(data: bytes, block: bytes, methods: re.Pattern[str]) -> Request:
    head = parse_request_head(data, methods)
    request = _of(head)
    if len(block) <= _MAX_SIZE and head.version == (1, 1) and head.target[:1] == "/":
        # With another form of target, the meaning of the fields depends on it.
        number = hash(block)
        if number in _seen:
            if len(_known) >= _MAX_BLOCKS:
                _known.clear()
            _known[block] = _of(head)
        else:
            if len(_seen) >= _MAX_SEEN:
                _seen.clear()
            _seen.add(number)
    return request


def _of(head: RequestHead) -> Request:
    request = Request()
    request.method = head.method
    request.target = head.target
    request.uri = head.uri
    request.modern = head.version != (1, 0)
    request.pairs = head.pairs
    request.fields = head.fields
    request.keep_alive = head.keep_alive
    request.content_length = head.content_length
    request.chunked = head.chunked
    request.expect_continue = head.expect_continue
    request.underscored = head.underscored
    return request
