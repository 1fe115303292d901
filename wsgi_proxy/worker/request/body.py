"""The body of a request as `wsgi.input` (PEP 3333), read from the connection on demand.

Rules:
- Reading stops at the end of the body (`wsgi.input_terminated`), with a length or chunked.
- `read(n)` waits for n bytes or the end, as files do; `read1(n)` returns as soon as there is a byte.
- `100 Continue` is sent only if the application reads before any byte of the body has arrived.
- A read raises ClientError(400) for broken framing, ClientError(408) for a slow client, and ClientGone if the client leaves.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...errors import ClientError, ClientGone
from ...http import ChunkedDecoder, LengthDecoder
from ...net import milliseconds

if TYPE_CHECKING:
    from ...http import Pairs
    from .head import Request

_BLOCK: Final = 64 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Source(Protocol):
    """The part of a connection that a body needs."""

    buffer: bytes
    gone: bool

    @property
    def stream(self) -> Any: ...

    def send(self, data: bytes) -> None: ...

    def watch(self) -> None: ...


class Body:
    """The reading methods of a body over any HTTP version. `_more` appends a block to `_pieces`, or returns False at the end."""

    __slots__ = ("_pieces", "expecting", "left", "received")

    interruptible = True
    """`wait` can interrupt the wait for the client."""

    _pieces: list[bytes]
    expecting: bool
    """True while the client waits for `100 Continue`."""
    left: int | None
    """Bytes that have not arrived yet; None if unknown."""
    received: int

    @property
    def trailers(self) -> Pairs:
        return []

    @property
    def ended(self) -> bool:
        """True if the whole body has arrived."""
        raise NotImplementedError

    @property
    def exhausted(self) -> bool:
        """True if the whole body was read: every further read returns b"" at once."""
        return self.ended and not self._pieces

    @property
    def arrived(self) -> bool:
        """True if the next read returns bytes at once."""
        return bool(self._pieces)

    def _more(self) -> bool:
        raise NotImplementedError

    def read1(self, size: int = -1) -> bytes:
        """Return at least one byte and at most `size`, as soon as there is one; b"" at the end."""
        if size == 0 or not (self._pieces or self._more()):
            return b""
        piece = self._pieces.pop()
        if 0 < size < len(piece):
            self._pieces.append(piece[size:])
            return piece[:size]
        return piece

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer only at the end; the whole rest if `size` is negative or None."""
        if size is None or size < 0:
            return b"".join(iter(self.read1, b""))
        piece = self.read1(size)
        if len(piece) == size or not piece:
            return piece
        pieces = [piece]
        left = size - len(piece)
        while left and (piece := self.read1(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the bytes up to and with the next newline, at most `size`."""
        limit = -1 if size is None else size
        pieces: list[bytes] = []
        while limit and (piece := self.read1(limit)):
            end = piece.find(b"\n") + 1
            if end:
                pieces.append(piece[:end])
                if end < len(piece):
                    self._pieces.append(piece[end:])
                break
            pieces.append(piece)
            if limit > 0:
                limit -= len(piece)
        return b"".join(pieces)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the remaining lines, or lines of about `hint` bytes in total."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")


class RequestBody(Body):
    """The body of one request; `trailers` holds those of a chunked one once it has ended."""

    __slots__ = ("_connection", "_fault", "decoder")

    def __init__(self, connection: Source, head: Request) -> None:
        self._connection = connection
        self.decoder: ChunkedDecoder | LengthDecoder
        if head.chunked:
            self.decoder = ChunkedDecoder(ClientError)
        else:
            self.decoder = LengthDecoder(head.content_length or 0, ClientError)
        self.expecting = head.expect_continue
        self.left = None if head.chunked else head.content_length
        self.received = 0
        self._pieces = []
        self._fault: ClientError | None = None
        """The fault of the bytes that arrived together with the head; the first read raises it."""
        if connection.buffer:
            self.expecting = False
            data, connection.buffer = connection.buffer, b""
            try:
                self._decode(data)
            except ClientError as error:
                self._fault = error

    def bound(self, limit: int) -> None:
        """Raise ClientError(413), now or in a later read, when the chunks announce more than `limit` bytes in total."""
        if isinstance(self.decoder, ChunkedDecoder):
            self.decoder.bound(limit)

    def check(self) -> None:
        """Raise the fault of the bytes that arrived together with the head, if there is one."""
        if self._fault is not None:
            raise self._fault

    @property
    def trailers(self) -> Pairs:
        return self.decoder.trailers

    @property
    def ended(self) -> bool:
        """True if the whole body has arrived."""
        return self.decoder.done

    def _decode(self, data: bytes) -> None:
        if self.left is not None:
            self.left = max(0, self.left - len(data))
        pieces = self.decoder.feed(data)
        if pieces:
            # Join them: each of thousands of tiny blocks would cost a system call later.
            self._pieces = [b"".join(pieces)] if len(pieces) > 1 else pieces
        if self.decoder.done:
            self._connection.buffer = self.decoder.rest

    def discard(self, data: bytes) -> bool:
        """Drop bytes of the body; return True if it has ended."""
        self.decoder.feed(data)
        if self.decoder.done:
            self._connection.buffer = self.decoder.rest
        return self.decoder.done

    def _more(self) -> bool:
        """Read until there is a piece; return False at the end."""
        connection = self._connection
        while not self._pieces:
            if self._fault is not None:
                raise self._fault
            if self.decoder.done:
                return False
            if self.expecting:
                self.expecting = False
                connection.send(_CONTINUE)
            try:
                data = connection.stream.recv(_BLOCK)
            except TimeoutError:
                raise self._late() from None
            except OSError as error:
                connection.gone = True
                raise ClientGone(f"reading the request body failed: {error}") from error
            self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        """Decode bytes from the connection; b"" is its end."""
        if not data:
            self._connection.gone = True
            raise ClientGone("client prematurely closed connection while sending its request body")
        self.received += len(data)
        self._decode(data)
        if self.decoder.done:
            self._connection.watch()

    def _late(self) -> ClientError:
        # With an unknown rest the connection is not kept, and the body is not awaited again.
        self.left = None
        return ClientError("client timed out while sending its request body", status=408)

    def wait(self, other: int) -> bool:
        """Wait for the body or for the file descriptor `other`. Return True if a piece or the end can be read, False for `other`.

        Raises ClientError(408) if nothing arrives within `client_body_timeout`, and ClientGone if the client leaves.
        """
        connection = self._connection
        if self.expecting:
            self.expecting = False
            connection.send(_CONTINUE)
        stream = connection.stream
        while not (self._pieces or self._fault or self.decoder.done):
            stream.breathe()
            try:
                data = stream.recv_nowait(_BLOCK)
            except OSError as error:
                connection.gone = True
                raise ClientGone(f"reading the request body failed: {error}") from error
            if data is not None:
                self._take(data)
                continue
            poll = select.poll()
            poll.register(other, select.POLLIN)
            poll.register(stream.fileno(), select.POLLIN)
            limit = stream.read_timeout
            events = poll.poll(milliseconds(limit))
            if not events:
                raise self._late()
            if any(number == other for number, _ in events):
                return False
        return True


class NoBody:
    """The body of a request without one, which all such requests share."""

    __slots__ = ()

    ended = True
    expecting = False
    left: int | None = 0
    received = 0

    @property
    def trailers(self) -> Pairs:
        return []

    def begins(self) -> bool:
        return False

    def read(self, size: int | None = -1) -> bytes:
        return b""

    def read1(self, size: int | None = -1) -> bytes:
        return b""

    def readline(self, size: int | None = -1) -> bytes:
        return b""

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


NO_BODY: Final = NoBody()
