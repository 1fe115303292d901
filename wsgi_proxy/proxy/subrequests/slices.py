"""`slice`: a response that is fetched, and stored, in parts of a fixed size.

Rules:
- Each part is a request with the range `$slice_range`; `proxy_cache_key` and `proxy_set_header Range` name it.
- The client's own range chooses the parts and is cut from them. A first response that is no 206 is passed on as it is.
- With a cache, the client's conditions are applied to the composed response, as in nginx, and a part is read to its end.
- A later part must continue the first one, with the same length and entity tag; otherwise the response is cut short.
Source: ngx_http_slice_filter_module, by behaviour.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...cache import not_modified_fields, refusal_of, share_of
from ...errors import ClientError, ProxyError, UpstreamError
from ...http import first
from ...response import Response

if TYPE_CHECKING:
    from ...exchange import Exchange

Ask = Callable[["Exchange"], Response]

_RANGE = re.compile(r"bytes=[ \t]*(\d{1,18})-", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE | re.ASCII)
_CONDITIONS = ("HTTP_RANGE", "HTTP_IF_RANGE")


class _Part:
    """The position of one part: bytes `start` to `end` (exclusive) of `length`."""

    def __init__(self, response: Response, start: int, size: int) -> None:
        match = _CONTENT_RANGE.fullmatch(first(response.headers, "content-range") or "")
        if match is None:
            raise UpstreamError("invalid range in slice response")
        self.start, self.end, self.length = int(match[1]), int(match[2]) + 1, int(match[3])
        if self.start != start or self.end != min(start + size, self.length):
            raise UpstreamError(f"unexpected range in slice response: {self.start}-{self.end}")


def sliced(exchange: Exchange, size: int, ask: Ask, cached: bool) -> Response:
    """Return the response made of parts of `size` bytes.

    `ask` returns the response to a request for one part. `cached` is True if a cache stores the parts.
    """
    environ = exchange.environ
    start = _first(environ.get("HTTP_RANGE"), "HTTP_IF_RANGE" in environ) // size * size
    exchange.environ = {name: value for name, value in environ.items() if name not in _CONDITIONS}
    exchange.slice_range = f"bytes={start}-{start + size - 1}"
    try:
        response = ask(exchange)
    finally:
        exchange.environ = environ
    if response.status != 206:
        return response
    try:
        part = _Part(response, start, size)
        return _composed(exchange, response, part, size, ask, cached)
    except ProxyError:
        response.close()
        raise


def _first(asked: str | None, conditional: bool) -> int:
    """Return the first byte that a client's Range asks for; 0 where only the response can tell."""
    match = _RANGE.match(asked) if asked is not None and not conditional else None
    return int(match[1]) if match is not None and "," not in str(asked) else 0


def _composed(exchange: Exchange, response: Response, part: _Part, size: int, ask: Ask, cached: bool) -> Response:
    """Return the response to the client, whose body goes on with the other parts."""
    headers = [pair for pair in response.headers if pair[0].lower() not in ("content-range", "content-length", "accept-ranges")]
    length = part.length
    whole = Response(200, [*headers, ("Content-Length", str(length)), ("Accept-Ranges", "bytes")], length=length)
    whole.source = response.source
    now = time.time()
    refusal = refusal_of(exchange, whole, now) if cached else 0
    if refusal == 412:
        raise ClientError("the client's conditions do not hold", status=412)
    if refusal:
        _read_on(response)
        response.close()
        return Response(304, not_modified_fields(whole.headers), length=0)
    share = share_of(exchange, whole, now)
    begin, end = (0, length) if share is None else share
    if share is None:
        made = whole
    elif begin >= end:
        response.close()
        return Response(416, [("Content-Range", f"bytes */{length}"), ("Content-Length", "0")], length=0)
    else:
        fields = [*headers, ("Content-Length", str(end - begin)), ("Content-Range", f"bytes {begin}-{end - 1}/{length}")]
        made = Response(206, fields, length=end - begin)
        made.source = response.source
    made.body = SlicedBody(exchange, response, part, begin, end, size, ask, cached)
    return made


def _read_on(response: Response) -> None:
    """Read a part to its end, so that the cache stores it. A failed part is not stored."""
    try:
        for _ in response.body:
            pass
    except ProxyError:
        return


class SlicedBody:
    """The bytes `begin` to `end` (exclusive) of a response that comes in parts."""

    def __init__(
        self, exchange: Exchange, response: Response, part: _Part, begin: int, end: int, size: int, ask: Ask, cached: bool
    ) -> None:
        self._exchange = exchange
        self._response: Response | None = response
        self._inner: Exchange | None = None
        self._part = part
        self._at = begin
        self._end = end
        self._size = size
        self._ask = ask
        self._cached = cached
        self._tag = first(response.headers, "etag")

    def __iter__(self) -> Iterator[bytes]:
        while self._at < self._end:
            if not self._part.start <= self._at < self._part.end:
                self._next()
            yield from self._pieces()
            if self._at < min(self._part.end, self._end):
                raise UpstreamError("the upstream's body is shorter than it announced")

    def _pieces(self) -> Iterator[bytes]:
        """Yield the wanted bytes of the present part."""
        response, position, until = self._response, self._part.start, min(self._part.end, self._end)
        assert response is not None
        for block in response.body:
            piece = block[max(0, self._at - position) : max(0, until - position)]
            position += len(block)
            if piece:
                self._at += len(piece)
                yield piece

    def _next(self) -> None:
        """Ask for the part with the next byte. Raises UpstreamError if it does not continue the others."""
        if self._cached and self._response is not None and self._at >= self._part.end:
            _read_on(self._response)
        self.close()
        start = self._at // self._size * self._size
        inner = self._inner = _another(self._exchange, start, self._size)
        response = self._response = self._ask(inner)
        if response.status != 206:
            raise UpstreamError(f"unexpected status code {response.status} in slice response")
        if first(response.headers, "etag") != self._tag:
            raise UpstreamError("etag mismatch in slice response")
        part = _Part(response, start, self._size)
        if part.length != self._part.length:
            raise UpstreamError("unexpected range in slice response")
        self._part = part

    def close(self) -> None:
        """Close the present part; safe to call more than once."""
        response, self._response = self._response, None
        inner, self._inner = self._inner, None
        try:
            if response is not None:
                response.close()
        finally:
            for lease in (inner.leases or ()) if inner is not None else ():
                lease.close()


def _another(exchange: Exchange, start: int, size: int) -> Exchange:
    """Return the same request for another part, with an empty record."""
    inner = exchange.copy()
    inner.environ = {name: value for name, value in exchange.environ.items() if name not in _CONDITIONS}
    inner.environ.pop("wsgi.early_hints", None)
    inner.method = "GET"
    inner.slice_range = f"bytes={start}-{start + size - 1}"
    inner.variables = dict(exchange.variables)
    inner.subrequest = inner.background = True
    inner.depth = exchange.depth + 1
    inner.tries = []
    inner.tried = None
    inner.leases = None
    inner.response = None
    inner.upload = None
    inner.cache_key = inner.cache_status = ""
    return inner
