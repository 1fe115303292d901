"""HTTP/1 heads of answers, read in one way or not at all.

Rules:
- Those of message.py, with InvalidAnswer for a refusal: what an upstream sends is as little to be trusted as what a client sends.
- White space before a colon is the one thing that is mended instead (RFC 9112, 5.1), and the mended field is what is understood.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import InvalidResponse
from .syntax import ALLOWED, FRAMING, NO_TOKENS, V10, V11, Pairs, learn, length_of, tokens

_STATUS = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (.*))?")
_ACCEL = ("x-accel-redirect", "x-accel-expires", "x-accel-buffering", "x-accel-limit-rate", "x-accel-charset")
_MEANT = frozenset(FRAMING + _ACCEL)
_NAMES: dict[str, str] = {}
_FIRSTS: dict[str, tuple[int, str, tuple[int, int]]] = {}
_LINES: dict[str, tuple[tuple[str, str], str]] = {}
_MAX_LINES = 2048
_SHORT = 80
"""Longer lines are seldom said twice (cookies, tags, policies with a nonce)."""


class ResponseHead:
    """One answer's head.

    `content_length` is what was declared, body or not; `no_body` says that none follows whatever was declared (RFC 9112, 6.3:
    HEAD, 1xx, 204, 304). With neither length nor `chunked` the body ends with the connection. `keep_alive`
    says whether the connection can carry another exchange after this body. `special`: a field is there by which an upstream tells
    nginx what to do (X-Accel-*).
    """

    __slots__ = (
        "chunked",
        "connection_tokens",
        "content_length",
        "keep_alive",
        "no_body",
        "pairs",
        "reason",
        "special",
        "status",
        "upgrade",
        "version",
    )

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


def parse_response_head(data: bytes, method: str = "GET") -> ResponseHead:
    """Reads a complete head, status line to CRLF CRLF, of the answer to a request by `method`. Raises InvalidAnswer."""
    if data.translate(None, ALLOWED):
        raise InvalidResponse("upstream sent a control character in the answer's head")  # RFC 9110, 5.5
    text = data.decode("latin-1")
    lines = text.split("\r\n")
    ends = len(lines) - 1
    if text.count("\n") != ends or text.count("\r") != ends:
        raise InvalidResponse("upstream sent a bare CR or LF")  # RFC 9112, 2.2
    if ends < 2 or lines.pop() or lines.pop():
        raise InvalidResponse("upstream sent an incomplete head")

    first = lines[0]
    begun = _FIRSTS.get(first) or _read_first(first)
    del lines[0]
    pairs: Pairs = []
    head = ResponseHead(begun[0], begun[1], begun[2], pairs)
    append = pairs.append
    known = _LINES
    special: Pairs = []
    for line in lines:
        pair, meaning = known.get(line) or _read_line(line)
        append(pair)
        if meaning:
            special.append((meaning, pair[1]))
    _response_framing(head, special, method)
    return head


def _read_first(line: str) -> tuple[int, str, tuple[int, int]]:
    """A status line: (status, reason, version), remembered."""
    found = _STATUS.fullmatch(line)
    if not found:
        raise InvalidResponse(f"upstream sent an invalid status line: {line[:80]!r}")  # RFC 9112, 4
    minor, status, reason = found.groups()
    begun = (int(status), reason or "", V10 if minor == "0" else V11)
    _remember(_FIRSTS, line, begun)
    return begun


def _read_line(line: str) -> tuple[tuple[str, str], str]:
    """A field line: the pair and what its name means to us; remembered, because an upstream says the same things again."""
    name, colon, value = line.partition(":")
    meaning = _NAMES.get(name)
    if meaning is None:
        name = name.rstrip(" \t")  # RFC 9112, 5.1: a proxy removes it from an answer
        meaning = learn(name, _NAMES, _MEANT)
        if meaning is None:
            raise InvalidResponse(f"upstream sent an invalid header line: {line[:80]!r}")  # RFC 9112, 5.1 and 5.2
    if not colon:
        raise InvalidResponse(f"upstream sent a header line without a colon: {line[:80]!r}")
    read = ((name, value.strip(" \t")), meaning)
    _remember(_LINES, line, read)
    return read


def _remember(memory: dict[str, Any], line: str, read: Any) -> None:
    """Keep what a short line means; the memory starts over when it is full, so that an upstream cannot make it grow."""
    if len(line) <= _SHORT:
        if len(memory) >= _MAX_LINES:
            memory.clear()
        memory[line] = read


def _response_framing(head: ResponseHead, special: Pairs, method: str) -> None:
    """RFC 9112, 6.3: where the body ends, and whether the connection lives on."""
    coding: str | None = None
    for name, value in special:
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
            raise InvalidResponse(f"upstream sent an unknown Transfer-Encoding: {coding[:40]!r}")
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
            head.keep_alive = False  # RFC 9112, 6.1: the framing of such a message is not to be trusted further
    elif head.content_length is None:
        head.keep_alive = False


def check_partial_response(data: bytes) -> None:
    """For a head that has not ended yet: raises InvalidAnswer as soon as no more bytes could make it good.

    An upstream that speaks something else (HTTP/0.9, SSH, TLS) is found out by its first bytes, not by a timeout.
    """
    if data[:7] != b"HTTP/1."[: len(data)]:
        raise InvalidResponse(f"upstream sent no HTTP/1 status line: {data[:40]!r}")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise InvalidResponse("upstream sent a bare LF")
