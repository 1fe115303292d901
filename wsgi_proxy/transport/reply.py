"""A request to an upstream and its response, as the proxy handles them. `session` shows them as objects of `requests`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .client_watch import Watched
from .splice import Body
from .wire import Client, Wire

if TYPE_CHECKING:
    from ..http import Pairs, ResponseHead
    from ..net import Stream


class Source(Protocol):
    """A body to send. `length` is None if it is unknown; `read` returns b"" at the end."""

    length: int | None
    data: bytes | None

    def read(self, size: int = -1) -> bytes: ...

    @property
    def interruptible(self) -> bool: ...

    @property
    def exhausted(self) -> bool: ...

    @property
    def arrived(self) -> bool: ...

    def give_back(self, block: bytes) -> None: ...

    def check(self) -> None: ...

    def wait(self, other: int) -> bool: ...

    def rewind(self) -> bool: ...

    def fileno(self) -> int: ...


class Call:
    """A request ready to be sent. `head` holds all bytes up to the empty line, and declares the framing of `upload`."""

    __slots__ = ("client", "head", "hints", "log", "may_close", "method", "upload")

    def __init__(self, method: str, head: bytes, upload: Source | None = None) -> None:
        self.method = method
        self.head = head
        self.upload = upload
        self.may_close = True
        """False if the head is known to have no `Connection: close`, for which it is searched otherwise."""
        self.client: Client | Watched | None = None
        """The client's connection, if the exchange ends when the client leaves."""
        self.hints: Callable[[Pairs], None] | None = None
        """A function that takes the fields of each 103 (Early Hints) response. An exception of it ends the exchange."""
        self.log: Callable[[str, str], None] | None = None
        """A function that takes the level and the text of a line from a FastCGI server's STDERR."""


class Reply:
    """The response of an upstream.

    Times are in seconds: `connect_time` is 0 on a kept connection; `header_time` ends when the head was read. `body` yields
    blocks of bytes. `pairs` are the fields as received. `content_length` is the declared length. `reused` is True on a kept
    connection.
    """

    __slots__ = (
        "_head_received",
        "_partial",
        "_sent",
        "body",
        "connect_time",
        "content_length",
        "head",
        "header_time",
        "pairs",
        "reason",
        "reused",
        "special",
        "status",
        "wire",
    )

    def __init__(self, wire: Wire, head: ResponseHead, body: Body, connect_time: float, header_time: float, reused: bool) -> None:
        self.wire = wire
        self.status = head.status
        self.reason = head.reason
        self.pairs = head.pairs
        self.content_length = head.content_length
        self.special = head.special
        self.head = head
        self.body = body
        self._sent = wire.sent
        self._partial = wire.sending is not None
        self._head_received = wire.received - (len(wire.buffer) if head.status == 101 else body.received)
        self.connect_time = connect_time
        self.header_time = header_time
        self.reused = reused

    @property
    def trailers(self) -> Pairs:
        """The trailer fields, once the body has been read to its end."""
        return self.body.trailers

    @property
    def bytes_sent(self) -> int:
        """The bytes of the request sent so far, head and framing included."""
        if not self._partial:
            return self._sent  # the connection may carry another request by now
        sending = self.wire.sending
        return self.wire.sent if sending is None else sending.sent

    @property
    def bytes_received(self) -> int:
        """The bytes received so far: interim responses, the head and the body with its framing."""
        return self._head_received + self.body.received

    @property
    def spliceable(self) -> bool:
        """True if `send_to` moves the body by splice. Iteration is better otherwise."""
        return self.body.spliceable

    def send_to(self, client: Stream, patience: float | None = None) -> int:
        """Send the body to a client's stream (Body.send_to)."""
        return self.body.send_to(client, patience)

    def take_over(self) -> tuple[Stream, bytes]:
        """Return the upstream's stream after a 101, and the bytes that followed the head. The caller closes the stream."""
        rest, self.wire.buffer = self.wire.buffer, b""
        return self.wire.stream, rest

    def close(self) -> None:
        """Discard the rest of the body. The connection of a complete body has been returned to the pool already."""
        self.body.close()
        if self.status == 101:
            self.wire.close()
