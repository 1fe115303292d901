"""The body of a request by HTTP/2 as `wsgi.input` (PEP 3333).

Rules:
- DATA frames are queued until the application reads. Only then may the client send more (RFC 9113, section 5.2), so an unread
  body takes no more memory than its stream's window.
- Reading raises ClientError(400) for a body that differs from its Content-Length, ClientGone after a reset, and ClientError(408)
  if the client sends nothing for `client_body_timeout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...clocks import monotonic
from ...errors import ClientError, ProxyError
from ..request import Body
from .gate import LATE, OTHER, Gate

if TYPE_CHECKING:
    from ...http import Pairs
    from .stream import RequestStream


class StreamBody(Body):
    """The body of one stream; `trailers` holds its trailer fields once it has ended."""

    __slots__ = ("_fault", "_gate", "_over", "_queue", "_stream", "_trailers")

    def __init__(self, stream: RequestStream, length: int | None, expecting: bool) -> None:
        self._pieces = []
        self.received = 0
        self.left = length
        self.expecting = expecting
        self._stream = stream
        self._gate = Gate(stream.service.hub)
        self._queue: list[bytes] = []
        self._fault: ProxyError | None = None
        self._over = False
        self._trailers: Pairs = []

    # --- the connection's side, in the hub ---

    def feed(self, data: bytes) -> bool:
        """Queue a part of the body; return False if Content-Length is exceeded."""
        size = len(data)
        self.received += size
        if self.left is not None:
            if size > self.left:
                return False
            self.left -= size
        self._queue.append(data)
        self.expecting = False
        self._gate.open()
        return True

    def finish(self, trailers: Pairs) -> bool:
        """Note the end of the body; return False if it is shorter than Content-Length."""
        if self.left:
            return False
        self._over = True
        self._trailers = trailers
        self._gate.open()
        return True

    def fail(self, fault: ProxyError) -> None:
        """Make every further read raise `fault`."""
        if self._fault is None:
            self._fault = fault
        self._queue = []
        self._gate.open()

    @property
    def fault(self) -> ProxyError | None:
        """The fault that the next read raises."""
        return self._fault

    # --- the application's side ---

    @property
    def ended(self) -> bool:
        """True if the whole body has arrived."""
        return self._over

    @property
    def exhausted(self) -> bool:
        return self._over and not self._queue and not self._pieces

    @property
    def arrived(self) -> bool:
        return bool(self._pieces or self._queue) and self._fault is None

    @property
    def trailers(self) -> Pairs:
        return self._trailers

    def check(self) -> None:
        """Raise the fault that the first read would raise."""
        if self._fault is not None:
            raise self._fault

    def begins(self) -> bool:
        """Return False if the body has ended without a byte; an open stream counts as a body, as in nginx."""
        return self.received > 0 or not self._over

    def _more(self) -> bool:
        while not self._queue:
            if self._ends():
                return False
            self._stream.ask()
            if self._gate.wait(self._stream.settings.client_body_timeout or None) == LATE:
                raise self._late()
        if self._fault is not None:
            raise self._fault
        queue, self._queue = self._queue, []
        block = queue[0] if len(queue) == 1 else b"".join(queue)
        self._pieces.append(block)
        self._stream.consumed(len(block))
        return True

    def _ends(self) -> bool:
        """Return True at the end. Raises the fault. Sends 100 (Continue) first if the client waits for it."""
        if self._fault is not None:
            raise self._fault
        if not self._over and self.expecting:
            self.expecting = False
            self._stream.go_ahead()
        return self._over

    def discard_rest(self, seconds: float) -> bool:
        """Drop the unread rest; return True at its end, False after `seconds` or when the client's window is used up."""
        until = monotonic() + seconds
        while True:
            self._queue = []
            if self._over or self._fault is not None:
                return self._over
            left = until - monotonic()
            if self.expecting or self._stream.receivable <= 0 or left <= 0:
                return False
            self._gate.wait(left)

    def _late(self) -> ClientError:
        return ClientError("client timed out while sending its request body", status=408)

    def wait(self, other: int) -> bool:
        """Wait until a piece or the end can be read and return True, or until the descriptor `other` is readable: False."""
        while not (self._pieces or self._queue or self._fault is not None or self._ends()):
            outcome = self._gate.wait(self._stream.settings.client_body_timeout or None, other)
            if outcome == LATE:
                raise self._late()
            if outcome == OTHER:
                return False
        return True
