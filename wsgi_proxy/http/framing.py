"""Message body framing: decoders for the chunked coding (RFC 9112, section 7.1) and Content-Length, and the end of chunks.

Rules:
- Bytes in, bytes out, no socket. The same decoders read requests and responses, so the two sides cannot disagree. `fault` is the
  exception for a malformed body (`ClientError` or `InvalidResponse`).
- Strict where implementations are known to differ: a size is 1 to 16 hex digits (no sign, `0x`, `_` or space), each line ends
  with CRLF, a size line has at most `MAX_LINE` bytes, and the trailers `MAX_TRAILERS`.
- Content is returned as soon as it has arrived. A block that lies within one chunk is returned as the same object.
- Trailers that could change how a message is framed, routed, trusted or cached are dropped (RFC 9110, section 6.5.1).
"""

from __future__ import annotations

import re
from math import inf
from typing import Final

from ..errors import ProxyError
from .syntax import ALLOWED, TOKEN, Pairs

MAX_LINE: Final = 1024
"""Bytes of a chunk's size line with its extensions, which are not used in practice; nginx skips any number of them."""
MAX_TRAILERS: Final = 16 * 1024
MAX_SIZE: Final = 2**63 - 1
LAST_CHUNK: Final = b"0\r\n\r\n"

_EXTENSION = rb"(?:[ \t]*;[ \t]*[\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*)?"
_FIRST: Final = re.compile(rb"([0-9A-Fa-f]{1,16})" + _EXTENSION + rb"\r\n")
_NEXT: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})" + _EXTENSION + rb"\r\n")
_SIZE_BEGUN = rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*|[ \t]*;[\t\x20-\x7e\x80-\xff]*)\r?)?"
_FIRST_BEGUN: Final = re.compile(_SIZE_BEGUN)
_NEXT_BEGUN: Final = re.compile(rb"(?:\r(?:\n" + _SIZE_BEGUN + rb")?)?")

NOT_IN_TRAILERS: Final = frozenset(
    """
    transfer-encoding content-length trailer connection keep-alive te upgrade host proxy-connection http2-settings
    authorization proxy-authorization proxy-authenticate proxy-authentication-info www-authenticate authentication-info
    cookie set-cookie cookie2 set-cookie2
    content-encoding content-type content-range content-location range if-range accept-ranges
    cache-control pragma expires age date vary warning retry-after location expect max-forwards
    if-match if-none-match if-modified-since if-unmodified-since
    forwarded via x-real-ip x-forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-server
    x-forwarded-prefix x-http-method-override origin referer strict-transport-security content-security-policy
    """.split()
)


class Decoder:
    """An incremental decoder of a body; the classes below it and those of other protocols say how it is framed."""

    __slots__ = ("done", "rest", "short", "trailers")

    done: bool
    """True at the end of the body."""
    rest: bytes
    """The bytes that followed the body."""
    short: bool
    """True if the body will never be complete, although the connection is open."""
    trailers: Pairs

    def feed(self, data: bytes) -> list[bytes]:
        """Return the content in `data`, in order, without empty pieces."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up the rest of the body."""


class ChunkedDecoder(Decoder):
    """An incremental decoder of a chunked body.

    `feed` returns the pieces of content. At the end `done` is True, `trailers` holds the pairs that may be kept, and `rest` the
    bytes that follow the body. Raises `fault` at the first byte that cannot be right.
    """

    __slots__ = (
        "_announced",
        "_begun",
        "_fault",
        "_in_trailers",
        "_left",
        "_limit",
        "_line",
        "_tail",
    )

    def __init__(self, fault: type[ProxyError]) -> None:
        self._fault = fault
        self._left = self._announced = 0
        self._limit: float = inf
        self._line, self._begun = _FIRST, _FIRST_BEGUN
        self._tail = b""
        self._in_trailers = False
        self.done = self.short = False
        self.rest = b""
        self.trailers: Pairs = []

    def feed(self, data: bytes) -> list[bytes]:
        """Return the content in `data`, in order, without empty pieces."""
        if self.done:
            self.rest += data
            return []
        if self._tail:
            data = self._tail + data
            self._tail = b""
        pieces: list[bytes] = []
        at, end = 0, len(data)
        while not self._in_trailers:
            left = self._left
            if left:
                if end - at < left:
                    if at < end:
                        pieces.append(data[at:] if at else data)
                        self._left = left - (end - at)
                    return pieces
                pieces.append(data[at : at + left])
                at += left
                self._left = 0
            line = self._line.match(data, at)
            if line is None:
                self._keep_line(data[at:])
                return pieces
            if line.end() - at > MAX_LINE:
                raise self._fault("a chunk's size line is too long")
            at = line.end()
            self._left = size = int(line[1], 16)
            if size > MAX_SIZE:
                raise self._fault("a chunk's size is too large")
            self._announced += size
            if self._announced > self._limit:
                self._too_large()
            self._line, self._begun = _NEXT, _NEXT_BEGUN
            self._in_trailers = not size
        self._end(data, at)
        return pieces

    def bound(self, limit: int) -> None:
        """Raise `fault` with 413, now or in a later `feed`, when the announced chunks exceed `limit` bytes in total."""
        self._limit = float(limit)
        if self._announced > limit:
            self._too_large()

    def _too_large(self) -> None:
        raise self._fault(f"a chunked body announces {self._announced} bytes", status=413)

    def finish(self) -> None:
        """Raise `fault` unless the body is complete; no more bytes will arrive."""
        if not self.done:
            raise self._fault("a chunked body ended early")

    def _keep_line(self, tail: bytes) -> None:
        """Keep the beginning of a size line for the next `feed`, if it can still become valid."""
        if len(tail) > MAX_LINE:
            raise self._fault("a chunk's size line is too long")
        if not self._begun.fullmatch(tail):
            raise self._fault(f"invalid chunk size: {tail[:40]!r}")
        self._tail = tail

    def _end(self, data: bytes, at: int) -> None:
        if data.startswith(b"\r\n", at):
            end = at + 2
        else:
            stop = data.find(b"\r\n\r\n", at)
            if (stop if stop >= 0 else len(data)) - at > MAX_TRAILERS:
                raise self._fault("the trailers are too large")
            if stop < 0:
                self._tail = data[at:]
                if self._tail.count(b"\n") != self._tail.count(b"\r\n"):
                    raise self._fault("bare LF in the trailers")
                return
            end = stop + 4
            self.trailers = parse_trailers(data[at : stop + 2], self._fault)
        self.done = True
        self.rest = data[end:]


class LengthDecoder:
    """An incremental decoder of a body of known length; the interface is that of ChunkedDecoder."""

    __slots__ = ("_fault", "_left", "done", "rest", "trailers")

    def __init__(self, length: int, fault: type[ProxyError]) -> None:
        self._left = length
        self._fault = fault
        self.done = not length
        self.rest = b""
        self.trailers: Pairs = []

    def feed(self, data: bytes) -> list[bytes]:
        if len(data) < self._left:
            self._left -= len(data)
            return [data] if data else []
        if self.done:
            self.rest += data
            return []
        left, self._left, self.done = self._left, 0, True
        if len(data) == left:
            return [data]
        self.rest = data[left:]
        return [data[:left]]

    def finish(self) -> None:
        """Raise `fault` unless the body is complete; no more bytes will arrive."""
        if not self.done:
            raise self._fault(f"a body ended {self._left} bytes early")


def parse_trailers(data: bytes, fault: type[ProxyError]) -> Pairs:
    """Return the pairs that may be passed on from a trailer section: lines with CRLF, without the final empty line."""
    ends = data.count(b"\r\n")
    if data.translate(None, ALLOWED) or data.count(b"\r") != ends or data.count(b"\n") != ends:
        raise fault("invalid character in the trailers")
    pairs: Pairs = []
    for line in data.decode("latin-1").split("\r\n")[:-1]:
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name):
            raise fault(f"invalid trailer line: {line[:80]!r}")
        if name.lower().replace("_", "-") not in NOT_IN_TRAILERS:
            pairs.append((name, value.strip(" \t")))
    return pairs


def encode_end(trailers: Pairs) -> bytes:
    """Return the last chunk and the trailers."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1") + b"\r\n"
