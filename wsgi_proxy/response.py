"""Response: the status, field pairs and body that go back to the client. Attempt: one attempt to get it from an upstream.

Rules:
- A body is closed exactly once, by the Response that holds it.
- The worker sends a FileBody by sendfile and a body with `send_to` by `splice`. Any other WSGI server iterates both.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from .clocks import wall_time
from .http import Pairs


class Page:
    """The outcome that only the status counts: the client gets the `error_page` for it, else the standard page."""

    __slots__ = ()


class InternalRedirect:
    """The outcome that another location answers: a named one (`@name`), or that of a decoded URI and its arguments."""

    __slots__ = ("args", "uri")

    def __init__(self, uri: str, args: str | None = None) -> None:
        self.uri = uri
        self.args = args
        """The query without `?`; None for no query."""


class Response:
    """A status, field pairs, and a body that is closed exactly once.

    `body` is an iterable of non-empty bytes blocks. It may have `close()`, and `send_to(stream)`, which moves the whole body to
    the client's stream. `length` is the body's length in bytes, None while it is unknown. `reason` "" means the standard phrase.
    """

    __slots__ = (
        "body",
        "charset",
        "hangs_up",
        "headers",
        "length",
        "outcome",
        "part_type",
        "raw",
        "reason",
        "relative",
        "source",
        "status",
        "varies",
    )

    def __init__(
        self,
        status: int,
        headers: Pairs | None = None,
        body: Iterable[bytes] = (),
        *,
        length: int | None = None,
        reason: str = "",
    ) -> None:
        self.status = status
        self.headers: Pairs = [] if headers is None else headers
        self.body = body
        self.length = length
        self.reason = reason
        self.outcome: Page | InternalRedirect | None = None
        """The step that takes this response's place; None for a response that is sent as it is."""
        self.source: Any = None
        """The reply of an upstream or the cache entry that the response was made of; None for any other."""
        self.charset = ""
        """The character set that `charset` has added to Content-Type; "" for a field without such an addition."""
        self.part_type = ""
        """The media type of the parts of a multipart/byteranges response, whose heads have their final form already."""
        self.varies = False
        """A filter has added `Vary: Accept-Encoding`."""
        self.hangs_up = False
        """The connection is closed without a response (`return 444`), where the server allows it."""
        self.relative = False
        """Location is this proxy's own, and a path in it is subject to `absolute_redirect`."""
        self.raw = False
        """The fields are still the upstream's; the location that sends them applies `Forwarder.response_headers`."""

    def close(self) -> None:
        """Close the body; safe to call more than once."""
        body, self.body = self.body, ()
        if type(body) is tuple:
            # Blocks in memory. Looking for an attribute in vain costs as much as a small response's head.
            return
        close = getattr(body, "close", None)
        if close is not None:
            close()

    def header(self, name: str) -> str | None:
        """Return the first field of that name in any case, None when there is none."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


class Attempt:
    """One attempt at an upstream. Times are seconds since the attempt began, None for an event that has not happened yet."""

    __slots__ = (
        "address",
        "bytes_received",
        "bytes_sent",
        "connect_time",
        "counter",
        "error",
        "header_time",
        "response_length",
        "response_time",
        "started",
        "status",
    )

    def __init__(self, address: str) -> None:
        self.address = address
        self.started = wall_time()
        self.counter: Any = None
        """Counts the attempt when it ends (`status.PeerCounter`); None for one without a server."""
        self.status = 0
        self.error = ""
        self.connect_time: float | None = None
        self.header_time: float | None = None
        self.response_time: float | None = None
        self.bytes_sent = 0
        self.bytes_received = 0
        self.response_length = 0
        """Bytes of the response's body without its framing."""


class FileBody:
    """A part of an open file as a body: `count` bytes from `offset`. Iterating it raises EOFError if the file has shrunk."""

    __slots__ = ("_block", "count", "file", "offset")

    def __init__(self, file: io.BufferedIOBase | io.RawIOBase, offset: int, count: int, block: int = 64 * 1024) -> None:
        self.file = file
        self.offset = offset
        self.count = count
        self._block = block

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(self.offset)
        left = self.count
        while left > 0:
            block = self.file.read(min(left, self._block))
            if not block:
                raise EOFError("the file became shorter while it was sent")
            left -= len(block)
            yield block

    def close(self) -> None:
        self.file.close()


class Parts:
    """The body of a multipart response: parts of an open file from `offset` on, or of bytes in memory.

    `heads` are (the head of a part, its first byte, its number of bytes), `tail` is the end of the body.
    """

    __slots__ = ("_heads", "_offset", "_source", "_tail")

    def __init__(
        self,
        source: io.BufferedIOBase | io.RawIOBase | bytes,
        heads: list[tuple[bytes, int, int]],
        tail: bytes,
        offset: int = 0,
    ) -> None:
        self._source = source
        self._heads = heads
        self._tail = tail
        self._offset = offset

    def __iter__(self) -> Iterator[bytes]:
        source = self._source
        for head, start, count in self._heads:
            yield head
            if isinstance(source, bytes):
                yield source[start : start + count]
            else:
                yield from FileBody(source, self._offset + start, count)
        yield self._tail

    def close(self) -> None:
        if not isinstance(self._source, bytes):
            self._source.close()
