"""The strict parser of HTTP/1 response heads. Pure.

Rules:
- The rules of `http.request` hold, with InvalidResponse for a refusal: upstreams are trusted no more than clients.
- A line that stands where it stood in the last head is one comparison, another one that came lately is one look-up.
- Two faults are repaired: white space before a colon (RFC 9112, section 5.1), and a lone LF as the end of a line, which CGI
  scripts and appliances send (RFC 9112, section 2.2; nginx does the same). The repaired head counts. A bare CR is refused, and so
  is a lone LF in the framing of chunks.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import InvalidResponse
from .request_lines import CHECKED
from .syntax import FRAMING, NO_TOKENS, V10, V11, Pairs, learn, length_of, tokens

_STATUS: Final = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (.*))?")
_ACCEL = ("x-accel-redirect", "x-accel-expires", "x-accel-buffering", "x-accel-limit-rate", "x-accel-charset")
_MEANT: Final = frozenset(FRAMING + _ACCEL)
_NAMES: Final[dict[str, str]] = {}
_FIRSTS: Final[dict[bytes, StatusLine]] = {}
_LINES: Final[dict[bytes, ResponseLine]] = {}
_SINGLE = (
    *("content-type", "date", "etag", "expires", "last-modified", "location", "refresh", "server", "status"),
    *(name for name in _ACCEL if name != "x-accel-charset"),
)
"""Fields that a response has once: nginx ignores every further one (ngx_http_upstream_process_header_line)."""
_BITS: Final = {name: 1 << number for number, name in enumerate(_SINGLE)}
_MAX_LINES: Final = 2048
_SMALL: Final = 4096
"""Bytes up to which received data is split into lines without a search for the end of the head."""
_SHORT: Final = 80
"""Bytes of a line that is remembered; longer ones seldom recur (cookies, tags, policies with a nonce)."""


class StatusLine:
    """A status line that has been read."""

    __slots__ = ("reason", "status", "version")

    def __init__(self, status: int, reason: str, version: tuple[int, int]) -> None:
        self.status = status
        self.reason = reason
        self.version: Any = version


class ResponseLine:
    """A header line that has been checked: its name and value as one tuple, its meaning, and the bit of its name in _SINGLE.

    Any, because compiled code makes a new tuple at each use of an attribute that is declared as a tuple.
    """

    __slots__ = ("bit", "line", "meaning", "pair", "value")

    def __init__(self, line: bytes, name: str, value: str, meaning: str) -> None:
        self.line = line
        self.pair: Any = (name, value)
        self.value = value
        self.meaning = meaning
        self.bit = _BITS.get(name.lower(), 0)


class ResponseHead:
    """The head of one response.

    `content_length` is the declared length in bytes, even without a body. `no_body` is True if none follows (RFC 9112,
    section 6.3: HEAD, 1xx, 204, 304). With neither a length nor `chunked` the body ends with the connection. `keep_alive` is
    True if the connection can carry another exchange afterwards. `special` is True if there is an X-Accel field.
    """

    __slots__ = (
        "chunked", "connection_tokens", "content_length", "keep_alive", "no_body", "pairs", "reason", "special", "status",
        "upgrade", "version",
    )  # fmt: skip

    def __init__(self, status: int, reason: str, version: tuple[int, int], pairs: Pairs) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.pairs = pairs
        self.content_length: int | None = None
        self.chunked = self.no_body = self.special = False
        self.keep_alive = version != (1, 0)
        self.connection_tokens = NO_TOKENS
        self.upgrade = ""


_last: Final[list[ResponseLine]] = []  # the lines of the last head


def take_response_head(data: bytes, method: str) -> tuple[ResponseHead | None, bytes]:
    """Return the head at the beginning of `data` and the bytes behind it; None if the head is incomplete.

    `method` is that of the request. Raises InvalidResponse.
    """
    if len(data) <= _SMALL:
        try:
            head, size = _head_of(data.split(b"\r\n"), method)
        except InvalidResponse:
            head, size = None, 0  # the last line may be incomplete
        if head is not None:
            return head, data[size:]
    end = end_of_response_head(data)
    if end < 0:
        return None, data
    return parse_response_head(data[:end], method), data[end:]


def parse_response_head(data: bytes, method: str = "GET") -> ResponseHead:
    """Parse a complete head, status line to empty line, of the response to a request by `method`. Raises InvalidResponse."""
    head, size = _head_of(data.split(b"\r\n"), method)
    if head is None or size != len(data):
        return parse_response_head(_repaired(data), method)
    return head


def _head_of(lines: list[bytes], method: str) -> tuple[ResponseHead | None, int]:
    """Return the head that the lines up to the first empty one make, and its size in bytes.

    None without an empty line, and for a line with a CR or LF in it. Raises InvalidResponse.
    """
    first = lines[0]
    begun = _FIRSTS.get(first) or _read_first(first)
    if begun is None:
        return None, 0
    size = len(first) + 2
    pairs: Pairs = []
    fields: list[ResponseLine] = []
    last = _last
    count = len(last)
    special: list[ResponseLine] = []
    seen = 0
    repeated = False
    for at in range(1, len(lines)):
        line = lines[at]
        if not line:
            break
        size += len(line) + 2
        field = last[at - 1] if at <= count and last[at - 1].line == line else _LINES.get(line) or _read_line(line)
        if field is None:
            return None, 0
        fields.append(field)
        pairs.append(field.pair)
        bit = field.bit
        if bit:
            if seen & bit:
                repeated = True
            seen |= bit
        if field.meaning:
            special.append(field)
    else:
        return None, 0
    if at == len(lines) - 1:
        return None, 0  # there is no empty line behind the last line end
    last[:] = fields
    head = ResponseHead(begun.status, begun.reason, begun.version, pairs)
    if repeated:
        head.pairs = _without_repetitions(pairs)
    _response_framing(head, special, method)
    return head, size + 2


def _repaired(data: bytes) -> bytes:
    """Return a head with CRLF for each lone LF at the end of a line. Raises InvalidResponse if there is none, or a bare CR."""
    repaired = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if repaired.count(b"\r") != repaired.count(b"\n"):
        raise InvalidResponse("upstream sent a bare CR")  # RFC 9112, section 2.2
    if repaired == data:
        raise InvalidResponse("upstream sent an incomplete head")
    return repaired


def end_of_response_head(data: bytes, seen: int = 0) -> int:
    """Return the index behind the first empty line, -1 without one. A line ends with CRLF or LF (RFC 9112, section 2.2).

    `seen` is an index before which no empty line begins.

    >>> heads = b"HTTP/1.1 200 OK\r\n\r\nbody", b"HTTP/1.1 200 OK\n\nbody", b"HTTP/1.1 200 OK"
    >>> [end_of_response_head(head) for head in heads]
    [19, 17, -1]
    """
    end = data.find(b"\n\r\n", seen)
    bare = data.find(b"\n\n", seen) if end < 0 else data.find(b"\n\n", seen, end + 1)
    if bare >= 0:
        return bare + 2
    return end + 3 if end >= 0 else -1


def _read_first(line: bytes) -> StatusLine | None:
    """Return a status line that is not known, and remember it; None if it has a CR or LF."""
    if not _is_clean(line):
        return None
    text = line.decode("latin-1")
    found = _STATUS.fullmatch(text)
    if not found:
        raise InvalidResponse(f"upstream sent an invalid status line: {text[:80]!r}")  # RFC 9112, section 4
    minor, status, reason = found.groups()
    begun = StatusLine(int(status), reason or "", V10 if minor == "0" else V11)
    _remember(_FIRSTS, line, begun)
    return begun


def _is_clean(line: bytes) -> bool:
    """Return False for a line with a CR or LF in it. Raises InvalidResponse for another control character."""
    if line.translate(CHECKED) == line:
        return True
    if b"\n" in line or b"\r" in line:
        return False
    raise InvalidResponse("upstream sent a control character in the response's head")  # RFC 9110, section 5.5


def _without_repetitions(pairs: Pairs) -> Pairs:
    """Return the fields without the second and further ones of a name in _SINGLE."""
    kept: Pairs = []
    seen: set[str] = set()
    for pair in pairs:
        lower = pair[0].lower()
        if lower not in seen:
            kept.append(pair)
            if lower in _BITS:
                seen.add(lower)
    return kept


def _read_line(line: bytes) -> ResponseLine | None:
    """Return a line that is not known, and remember it, because upstreams repeat themselves; None if it has a CR or LF."""
    if not _is_clean(line):
        return None
    text = line.decode("latin-1")
    name, colon, value = text.partition(":")
    meaning = _NAMES.get(name)
    if meaning is None:
        name = name.rstrip(" \t")  # RFC 9112, section 5.1: a proxy removes it from a response
        meaning = learn(name, _NAMES, _MEANT)
        if meaning is None:
            raise InvalidResponse(f"upstream sent an invalid header line: {text[:80]!r}")  # RFC 9112, section 5.1 and 5.2
    if not colon:
        raise InvalidResponse(f"upstream sent a header line without a colon: {text[:80]!r}")
    read = ResponseLine(line, name, value.strip(" \t"), meaning)
    _remember(_LINES, line, read)
    return read


def _remember(memory: dict[bytes, Any], line: bytes, read: Any) -> None:
    """Remember the result for a short line. A full memory is cleared, so an upstream cannot make it grow."""
    if len(line) <= _SHORT:
        if len(memory) >= _MAX_LINES:
            memory.clear()
        memory[line] = read


def _response_framing(head: ResponseHead, special: list[ResponseLine], method: str) -> None:
    """Set the framing of the body and the persistence of the connection (RFC 9112, sections 6.3 and 9.3)."""
    coding: str | None = None
    for field in special:
        name, value = field.meaning, field.value
        if name == "content-length":
            if head.content_length is not None:
                raise InvalidResponse("upstream sent Content-Length twice")
            head.content_length = length_of(value)
            if head.content_length is None:
                raise InvalidResponse(f"upstream sent an invalid Content-Length: {value[:40]!r}")
        elif name == "connection":
            head.connection_tokens = head.connection_tokens | tokens(value)
        elif name == "transfer-encoding":
            coding = value if coding is None else f"{coding}, {value}"
        elif name != "upgrade":
            head.special = True
        else:
            head.upgrade = f"{head.upgrade}, {value}" if head.upgrade else value
    if coding is not None:
        if coding.lower() != "chunked":
            message = f"upstream sent an unknown Transfer-Encoding: {coding[:40]!r}"
            raise InvalidResponse(message, error_type="http_response_transfer_coding")
        if head.content_length is not None:
            raise InvalidResponse("upstream sent Content-Length and Transfer-Encoding")
        head.chunked = True
    names = head.connection_tokens
    if names:
        head.keep_alive = "close" not in names and (head.version != V10 or "keep-alive" in names)
    status = head.status
    if method == "HEAD" or status < 200 or status == 204 or status == 304 or (method == "CONNECT" and status < 300):
        head.no_body = True
    elif head.chunked:
        if head.version == V10:
            head.keep_alive = False  # RFC 9112, section 6.1: the framing of such a message is not reliable
    elif head.content_length is None:
        head.keep_alive = False


def check_partial_response(data: bytes) -> None:
    """Raise InvalidResponse if an incomplete head can no longer become valid.

    An upstream that speaks another protocol (HTTP/0.9, SSH, TLS) is detected by its first bytes, not by a timeout.
    """
    if data[:7] != b"HTTP/1."[: len(data)]:
        raise InvalidResponse(f"upstream sent no HTTP/1 status line: {data[:40]!r}")
