"""The body of an upstream's response as it is received, in blocks of bytes.

Rules:
- The body ends where the head declares it (RFC 9112, section 6.3). An earlier end is a TruncatedResponse.
- After a complete body without further bytes, the connection returns to the pool at once, before the last block is delivered.
- Closing an incomplete body closes the connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ..errors import ClientGone, InvalidResponse, ProxyError, TruncatedResponse
from ..http import ChunkedDecoder, Decoder
from .connect import CLOSED, LEFT, TIMED_OUT, describe

if TYPE_CHECKING:
    from ..gateway import Records
    from ..http import Pairs, ResponseHead
    from .wire import Wire

BLOCK: Final = 128 * 1024


class ReceivedBody:
    """An iterable, once, of non-empty blocks.

    `received` counts the bytes of the body, framing included. `on_done` is called once, when the last byte has arrived.
    """

    __slots__ = ("_content", "_decoder", "_keep", "_left", "_pieces", "_wire", "done", "on_done", "received")

    def __init__(self, wire: Wire, head: ResponseHead, keep: bool) -> None:
        data, wire.buffer = wire.buffer, b""
        self._wire: Wire | None = wire
        self._keep = keep
        self._decoder: Decoder | None = None
        self.done = False
        self.on_done: Callable[[], None] | None = None
        self.received = len(data)
        self._content = 0
        self._left: int | None = head.content_length
        self._pieces: list[bytes] = []
        if head.status == 101:
            # The bytes after the head belong to the tunnel, which counts them.
            wire.buffer = data
            self.received = 0
            self._wire = None
            self.done = True
        elif wire.decoder is not None:
            self._take_records(wire.decoder, head.no_body)
        elif head.no_body:
            self._finish(data)
        elif head.chunked:
            self._decoder = decoder = ChunkedDecoder(InvalidResponse)
            if data:
                self._take(decoder, data)
                if decoder.done:
                    self._finish(decoder.rest)
        elif self._left is None or len(data) < self._left:
            if data:
                self._pieces = [data]
                if self._left is not None:
                    self._left -= len(data)
        else:
            if self._left:
                self._pieces = [data[: self._left]]
            self._finish(data[self._left :])

    @property
    def trailers(self) -> Pairs:
        """The trailer fields of a chunked body, once it is done."""
        return self._decoder.trailers if self._decoder is not None else []

    @property
    def content_received(self) -> int:
        """The bytes of the body received so far, without framing."""
        return self.received if self._decoder is None else self._content

    def _take_records(self, records: Records, no_body: bool) -> None:
        """Begin a body in records. nginx does not wait for the end of a response without a body, so its connection is closed."""
        assert self._wire is not None
        self._wire.decoder = None
        self._decoder = records
        self._pieces = records.take()
        self.received = self._content = sum(map(len, self._pieces))
        if records.short and not no_body:
            self._wire.stream.shutdown(socket.SHUT_RDWR)
        elif records.done or no_body:
            self._keep = self._keep and records.done
            self._finish(records.rest)

    def _take(self, decoder: Decoder, data: bytes) -> None:
        """Decode data of a chunked body into one block, because each of thousands of tiny blocks would cost a system call."""
        pieces = decoder.feed(data)
        self._pieces = [b"".join(pieces)] if len(pieces) > 1 else pieces
        self._content += len(self._pieces[0]) if pieces else 0

    def at_hand(self) -> bytes | None:
        """Return the whole body if it has arrived and is one block; None otherwise."""
        pieces = self._pieces
        if not self.done or len(pieces) != 1:
            return None
        self._pieces = []
        return pieces[0]

    def ready(self) -> bool:
        """Return True if `read_block` would not wait."""
        return self.done or bool(self._pieces) or self._wire is None or self._wire.stream.readable()

    def __iter__(self) -> Iterator[bytes]:
        if self.done:
            pieces, self._pieces = self._pieces, []
            return iter(pieces)
        return iter(self.read_block, b"")

    def read_block(self) -> bytes:
        """Return the next block as soon as there is one, b"" at the end. Raise TruncatedResponse at an early end."""
        while True:
            if self._pieces:
                return self._pieces.pop(0)
            if self.done:
                return b""
            self._more()

    def read(self, size: int | None = None) -> bytes:
        """Return at most `size` bytes, b"" at the end; the whole rest if `size` is None."""
        if size is None or size < 0:
            return b"".join(self)
        block = self.read_block()
        if len(block) > size:
            self._pieces.insert(0, block[size:])
        return block[:size]

    def next_at_hand(self) -> bool:
        """Return True if `read_block` would not wait: a block, or the end, has arrived. Framing alone is not a block."""
        while not (self._pieces or self.done):
            wire = self._wire
            if wire is None:
                return True
            try:
                data = wire.stream.recv_nowait(self._size())
            except OSError as error:
                raise self._broken(error) from error
            if data is None:
                return False
            self._received(wire, data)
        return True

    def _size(self) -> int:
        """Return the number of bytes to receive at once."""
        left = self._left
        return BLOCK if self._decoder is not None or left is None or left > BLOCK else left

    def _more(self) -> None:
        """Receive once."""
        wire = self._wire
        if wire is None:
            raise TruncatedResponse("the body was closed")
        try:
            if wire.watched is not None:
                wire.watched.wait(wire.stream)
            data = wire.stream.recv(self._size())
        except OSError as error:
            raise self._broken(error) from error
        except ClientGone:
            self.close()
            raise
        self._received(wire, data)

    def _received(self, wire: Wire, data: bytes) -> None:
        """Take bytes of the body as they arrived, framing included; b"" is the end of the connection."""
        left, decoder = self._left, self._decoder
        self.received += len(data)
        if decoder is not None:
            if not data:
                raise self._cut()
            try:
                self._take(decoder, data)
            except InvalidResponse as error:
                self.close()
                raise TruncatedResponse(f"{error} while reading upstream") from error
            if decoder.done:
                self._finish(decoder.rest)
            elif decoder.short:
                # The client gets what there is, and the next read finds an end.
                wire.stream.shutdown(socket.SHUT_RDWR)
            return
        if not data:
            if left is not None or wire.abandoned:
                raise self._cut()
            self._finish(b"")
            return
        self._pieces.append(data)
        if left is not None:
            self._took(len(data))

    def _took(self, count: int) -> None:
        """Count bytes of a body of known length."""
        assert self._left is not None
        self._left -= count
        if not self._left:
            self._finish(b"")

    def _broken(self, error: OSError) -> ProxyError:
        return self._failed(TIMED_OUT if isinstance(error, TimeoutError) else describe("recv()", error))

    def _cut(self) -> ProxyError:
        return self._failed(CLOSED)

    def _failed(self, reason: str) -> ProxyError:
        wire = self._wire
        self.close()
        if wire is not None and wire.abandoned:
            return ClientGone(LEFT)
        return TruncatedResponse(f"{reason} while reading upstream")

    def _finish(self, rest: bytes) -> None:
        """End the body. `rest` are the bytes that followed it, which prevent reuse of the connection."""
        self.done = True
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if self._decoder is not None:
            self._decoder.close()
        if self._keep and not rest:
            wire.idle.give(wire)
        else:
            wire.close()
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done()

    def close(self) -> None:
        """Discard the rest, and close the connection of an incomplete body. A second call does nothing."""
        self._pieces = []
        self.on_done = None
        wire, self._wire = self._wire, None
        if self._decoder is not None:
            self._decoder.close()
        if wire is not None:
            wire.close()
